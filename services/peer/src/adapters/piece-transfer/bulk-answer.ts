import type { IncomingMessage, ServerResponse } from "node:http";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import type { Pace } from "../../app/pace.ts";
import type { PieceStore } from "../../app/ports.ts";
import {
  BULK_BYTES_MAX,
  BULK_REQUEST_BYTES_MAX,
  type BulkEntry,
  type BulkFrame,
  encodeBulkFrames,
  parseBulkRequest,
} from "../../core/bulk-frames.ts";
import { leaseCovers } from "../../core/piece-http-lease.ts";
import { TRANSFER_BUFFER_BYTES } from "../buffer-pool.ts";
import type { LeaseRefusal } from "./lease-check.ts";
import { PACED_BYTES_MAX } from "./piece-answer.ts";
import type { ServeSpans } from "./serve-spans.ts";

/** What answering for many small contents needs of the piece server. */
export interface BulkSurroundings {
  readonly store: PieceStore;
  /** Asked before content is sent. */
  readonly pace: Pace | undefined;
  readonly spans: ServeSpans;
  readonly check: (entry: BulkEntry) => LeaseTokenClaims | LeaseRefusal;
  readonly hasSlotFor: (claims: LeaseTokenClaims) => boolean;
}

const NOTHING = new Uint8Array(0);
const WHOLE = { start: 0, end: 1 } as const;

/** @returns `undefined` when the request's body is too long or not understood. */
export async function readBulkRequest(
  request: IncomingMessage,
): Promise<readonly BulkEntry[] | undefined> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!(chunk instanceof Uint8Array)) return undefined;
    bytes += chunk.length;
    if (bytes > BULK_REQUEST_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return parseBulkRequest(Buffer.concat(chunks).toString("latin1"));
}

/**
 * Answers with a frame for each content, and waits until the child has taken them.
 * @param slowReaderMs for one buffer's worth, as for a single content
 * @returns content bytes sent; 0 when the child did not take them.
 */
export async function answerBulk(
  surroundings: BulkSurroundings,
  entries: readonly BulkEntry[],
  response: ServerResponse,
  slowReaderMs: number,
): Promise<number> {
  const frames: BulkFrame[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const frame = await frameOf(surroundings, entry, BULK_BYTES_MAX - bytes);
    bytes += frame.content.length;
    frames.push(frame);
  }
  const body = Buffer.concat(encodeBulkFrames(frames));
  const taken = Promise.withResolvers<boolean>();
  response.once("finish", () => taken.resolve(true));
  response.once("close", () => taken.resolve(false));
  const last = await sendPaced(response, body, surroundings.pace);
  if (last === undefined) return 0;
  const limitMs = slowReaderMs * Math.max(1, Math.ceil(body.length / TRANSFER_BUFFER_BYTES));
  const slow = setTimeout(() => response.destroy(), limitMs);
  response.end(last);
  const isTaken = await taken.promise;
  clearTimeout(slow);
  return isTaken ? bytes : 0;
}

/**
 * Begins the answer and sends all of the body but its last part, each part in its turn.
 * @returns the last part; `undefined` when the child is gone: no event will tell of it any more.
 */
async function sendPaced(
  response: ServerResponse,
  body: Buffer,
  pace: Pace | undefined,
): Promise<Buffer | undefined> {
  const lengthMax = pace === undefined ? body.length : PACED_BYTES_MAX;
  for (let at = 0; ; at += lengthMax) {
    const part = body.subarray(at, at + lengthMax);
    const pause = pace?.(part.length);
    if (pause !== undefined) await pause;
    if (response.destroyed || response.closed) return undefined;
    if (!response.headersSent) {
      response.writeHead(200, {
        "content-type": "application/octet-stream",
        "content-length": body.length,
      });
    }
    if (at + part.length >= body.length) return part;
    response.write(part);
  }
}

async function frameOf(
  { store, spans, check, hasSlotFor }: BulkSurroundings,
  entry: BulkEntry,
  bytesMax: number,
): Promise<BulkFrame> {
  const claims = check(entry);
  if (typeof claims === "string" || !leaseCovers(claims.pieces, WHOLE)) {
    return { code: "refused", content: NOTHING };
  }
  if (!hasSlotFor(claims)) return { code: "busy", content: NOTHING };
  const task = store.get(entry.taskId);
  if (task === undefined || !task.held.has(0)) return { code: "not_held", content: NOTHING };
  const { lengthBytes } = task.layout;
  if (task.held.size !== 1 || lengthBytes > bytesMax) return { code: "alone", content: NOTHING };
  const { childHostId, leaseId } = claims;
  const { taskId, traceparent } = entry;
  const endServe = spans.begin({ traceparent, taskId, childHostId, leaseId });
  const unpin = task.pin();
  try {
    if (!(await task.prove(0))) {
      endServe({ bytes: 0, pieceCount: 0 });
      return { code: "not_held", content: NOTHING };
    }
    const content = Buffer.allocUnsafe(lengthBytes);
    await task.read(content, 0, lengthBytes);
    endServe({ bytes: lengthBytes, pieceCount: 1 });
    return { code: "content", content };
  } catch {
    endServe({ bytes: 0, pieceCount: 0 });
    return { code: "not_held", content: NOTHING };
  } finally {
    unpin();
  }
}
