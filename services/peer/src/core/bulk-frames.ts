import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";

/**
 * Many small contents in one exchange between two hosts: the request's body has a line for each, the answer's body a frame for
 * each in the same order. A frame is one byte that says how it went, four bytes of length (big-endian), and the content.
 */

/** Contents asked for at once. */
export const BULK_COUNT_MAX = 128;
/** Content bytes in one answer; what does not fit is told to be asked for by itself. */
export const BULK_BYTES_MAX = 4 * 2 ** 20;
/** A line is a task id, a token and a traceparent. */
export const BULK_REQUEST_BYTES_MAX = BULK_COUNT_MAX * 2048;

export interface BulkEntry {
  readonly taskId: TaskId;
  readonly token: string;
  /** Or empty. */
  readonly traceparent: string;
}

/** How it went with one content. */
export const BULK_CODE = { content: 0, not_held: 1, busy: 2, refused: 3, alone: 4 } as const;
export type BulkCode = keyof typeof BULK_CODE;

export interface BulkFrame {
  readonly code: BulkCode;
  readonly content: Uint8Array;
}

const FRAME_HEAD_BYTES = 5;

export function encodeBulkRequest(entries: readonly BulkEntry[]): string {
  return entries
    .map(({ taskId, token, traceparent }) => `${taskId} ${token} ${traceparent}\n`)
    .join("");
}

/** @returns `undefined` when some line is malformed, or there are too many. */
export function parseBulkRequest(text: string): readonly BulkEntry[] | undefined {
  if (!text.endsWith("\n")) return undefined;
  const lines = text.slice(0, -1).split("\n");
  if (lines.length > BULK_COUNT_MAX) return undefined;
  const entries: BulkEntry[] = [];
  for (const line of lines) {
    const [id = "", token = "", traceparent = "", ...rest] = line.split(" ");
    const taskId = parseTaskId(id);
    if (taskId === undefined || token === "" || rest.length > 0) return undefined;
    entries.push({ taskId, token, traceparent });
  }
  return entries;
}

/** The parts of an answer's body. */
export function encodeBulkFrames(frames: readonly BulkFrame[]): readonly Uint8Array[] {
  return frames.flatMap(({ code, content }) => {
    const head = new Uint8Array(FRAME_HEAD_BYTES);
    head[0] = BULK_CODE[code];
    new DataView(head.buffer).setUint32(1, content.length);
    return content.length === 0 ? [head] : [head, content];
  });
}

/** @returns `undefined` when the body is not exactly `count` frames. */
export function parseBulkFrames(body: Uint8Array, count: number): readonly BulkFrame[] | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const frames: BulkFrame[] = [];
  let at = 0;
  while (frames.length < count && at + FRAME_HEAD_BYTES <= body.length) {
    const code = codeOf(view.getUint8(at));
    const length = view.getUint32(at + 1);
    const end = at + FRAME_HEAD_BYTES + length;
    if (code === undefined || end > body.length) return undefined;
    frames.push({ code, content: body.subarray(at + FRAME_HEAD_BYTES, end) });
    at = end;
  }
  return frames.length === count && at === body.length ? frames : undefined;
}

function codeOf(byte: number): BulkCode | undefined {
  switch (byte) {
    case BULK_CODE.content:
      return "content";
    case BULK_CODE.not_held:
      return "not_held";
    case BULK_CODE.busy:
      return "busy";
    case BULK_CODE.refused:
      return "refused";
    case BULK_CODE.alone:
      return "alone";
    default:
      return undefined;
  }
}
