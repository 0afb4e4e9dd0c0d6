import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import type { FailureReason } from "@lacewing/contracts/events/reasons.ts";
import { type ByteSpan, pieceSpan } from "@lacewing/contracts/pieces.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { PieceDigests } from "./expected-digests.ts";
import { followingAbort } from "./following-abort.ts";
import { runSpan } from "../core/fetch-plan.ts";
import { LateDigests } from "./late-digests.ts";
import { type OpenAnswer, type OriginAccess, readFromOrigin } from "./origin-access.ts";
import type { Paces } from "./pace.ts";
import type { PaceWatch } from "./pace-watch.ts";
import {
  type OriginRefusal,
  type PieceClient,
  type StoredTask,
  TransferError,
  type TransferSink,
} from "./ports.ts";

/** Where a fetch reads. */
export type FetchSource =
  | {
      readonly kind: "origin";
      readonly access: OriginAccess;
      /** Open already for what is to be read. */
      readonly answer?: OpenAnswer;
    }
  | {
      readonly kind: "parent";
      readonly hostId: string;
      readonly address: string;
      readonly token: string;
      /** Some of a lease ahead come later. */
      readonly digests: PieceDigests;
    };

/** What a fetch tells while it runs. */
export interface FetchEvents {
  /** Content bytes that arrived, wanted or not. */
  received(bytes: number): void;
  /** A piece is verified and held now. */
  held(pieceIndex: number): void;
  /** Bytes of the origin are on disk below this absolute offset, in a piece that is not complete yet. */
  partial(pieceIndex: number, endOffset: number): void;
  /** Asked before bytes are written: how long to wait for others first. */
  giveWay(): Promise<void> | undefined;
  /** How many writes wait for their turn or are under way, or pieces for their digest: so long it is not the source that is behind. */
  writing(count: number): void;
  /** The source has sent everything; what is left is our own writing, and digests that are late. */
  arrived(): void;
}

export type FetchEnd =
  | { readonly ok: true; readonly bytes: number }
  | {
      readonly ok: false;
      readonly bytes: number;
      readonly reason: FailureReason;
      readonly detail: string;
      /** The piece that was wrong, when one was. */
      readonly wrongPiece: number | undefined;
      /** How long the origin asks to be left alone, when it does. */
      readonly retryAfterMs?: number;
      /** What the origin answered in place of content. */
      readonly refusal?: OriginRefusal | undefined;
    };

/** A piece's bytes do not have its digest. */
class WrongPiece extends TransferError {
  readonly pieceIndex: number;
  constructor(pieceIndex: number) {
    super("digest_mismatch", `piece ${pieceIndex} does not have its digest`);
    this.pieceIndex = pieceIndex;
  }
}

/**
 * Reads a run of pieces from the source into the store, and commits each piece as soon as its last byte is written, while the
 * next bytes arrive.
 */
export async function runFetch(options: {
  readonly task: StoredTask;
  readonly source: FetchSource;
  /** A run that is read from the origin may become shorter while it is read: another read takes its end over. */
  readonly run: Readonly<PieceRange>;
  /** Up to where an earlier read of the origin has written a piece: the next one goes on there. */
  readonly writtenBefore: (pieceIndex: number) => number | undefined;
  readonly pieceClient: PieceClient;
  readonly paces?: Paces | undefined;
  readonly watch: PaceWatch;
  /** A parent that says nothing for this long is given up. */
  readonly silenceMs?: number | undefined;
  /** Pieces are on their way to the parent only; one whose bytes are here waits so long for its digest, when that comes later. */
  readonly ahead?: { readonly digestMsMax: number } | undefined;
  readonly traceparent: string;
  readonly events: FetchEvents;
  readonly signal: AbortSignal;
}): Promise<FetchEnd> {
  let bytes = 0;
  const events: FetchEvents = {
    ...options.events,
    received: (count) => {
      bytes += count;
      options.events.received(count);
    },
  };
  try {
    await readRun({ ...options, events });
    return { ok: true, bytes };
  } catch (error) {
    return { ok: false, bytes, ...failureOf(error, options.signal) };
  }
}

async function readRun(options: Parameters<typeof runFetch>[0]): Promise<void> {
  const { task, source, run, events } = options;
  const span = spanToRead(options);
  const wrong = followingAbort(options.signal);
  const { signal } = wrong;
  const commits: Promise<void>[] = [];
  const writes = new Set<Promise<void>>();
  const tellWriting = (): void => events.writing(writes.size + (late?.awaitedCount ?? 0));
  const late =
    source.kind === "parent"
      ? new LateDigests(source.digests, options.ahead?.digestMsMax ?? 0, signal, tellWriting)
      : undefined;
  const watched = options.watch.begin(
    source.kind === "parent" ? source.hostId : "",
    () => writes.size > 0,
    (reason) => wrong.abort(reason),
    options.silenceMs,
  );
  const received = (bytes: number): void => {
    watched.received(bytes);
    events.received(bytes);
  };
  let next = run.start;
  let writtenEnd = span.start;
  const commit = async (pieceIndex: number): Promise<void> => {
    const named = late?.of(pieceIndex);
    const expected = named instanceof Promise ? await named : named;
    const result = await task.commitPiece(pieceIndex, expected);
    if (result.ok) events.held(pieceIndex);
    else wrong.abort(new WrongPiece(pieceIndex));
  };
  const sink: TransferSink = {
    write: (buffer, offset) => {
      const writing = writeInTurn(options, signal, { buffer, offset });
      writes.add(writing);
      tellWriting();
      const ended = (): void => {
        writes.delete(writing);
        tellWriting();
      };
      writing.then(ended, ended);
      return writing;
    },
    written: (endOffset) => {
      if (source.kind === "parent") received(endOffset - writtenEnd);
      writtenEnd = endOffset;
      while (next < run.start + run.count && pieceSpan(task.layout, next).end <= endOffset) {
        const committing = commit(next);
        committing.catch((error: unknown) => wrong.abort(error));
        commits.push(committing);
        next++;
      }
      if (source.kind === "origin" && next < run.start + run.count) events.partial(next, endOffset);
    },
  };
  try {
    if (source.kind === "origin" && span.start > pieceSpan(task.layout, run.start).start)
      events.partial(run.start, span.start);
    await transfer({ ...options, signal }, span, sink, received);
    events.arrived();
  } finally {
    watched.stop();
    // What has arrived in full is kept, however the read ended. And no write may outlive the claim on its piece: it would
    // land on top of what the next source brings, whose bytes a client may see before they are hashed.
    await Promise.allSettled(writes);
    await Promise.allSettled(commits);
    wrong.release();
  }
  signal.throwIfAborted();
}

/** Bytes that wait for their turn hold the socket up, as bytes that wait for the disk do. */
async function writeInTurn(
  { task, source, paces, events }: Parameters<typeof runFetch>[0],
  signal: AbortSignal,
  { buffer, offset }: { readonly buffer: Uint8Array; readonly offset: number },
): Promise<void> {
  const pace = source.kind === "parent" ? paces?.download : paces?.backToSource;
  for (const pause of [events.giveWay(), pace?.(buffer.length)]) {
    if (pause === undefined) continue;
    await pause;
    signal.throwIfAborted();
  }
  return task.write(buffer, offset);
}

/** Reads from the source into the sink, whatever the source is. */
async function transfer(
  options: Parameters<typeof runFetch>[0],
  span: ByteSpan,
  sink: TransferSink,
  received: (bytes: number) => void,
): Promise<void> {
  const { task, source, run, signal } = options;
  const { description, layout } = task;
  if (source.kind === "origin") {
    const { access, answer } = source;
    const end = (): number => runSpan(layout, run).end;
    const { start } = span;
    await readFromOrigin({ access, description, answer, start, end, sink, received, signal });
    return;
  }
  const { address, token } = source;
  const { taskId } = description;
  const { traceparent } = options;
  const isAhead = options.ahead !== undefined;
  const isWhole = span.start === 0 && span.end === layout.lengthBytes;
  const read = { address, taskId, span, isWhole, isAhead, token, traceparent };
  await options.pieceClient.read(read, sink, signal);
}

/** A parent's bytes count by whole pieces only; the origin's go on where an earlier read was broken off. */
function spanToRead({
  task,
  source,
  run,
  writtenBefore,
}: Parameters<typeof runFetch>[0]): ByteSpan {
  const span = runSpan(task.layout, run);
  if (source.kind === "parent") return span;
  return { start: writtenBefore(run.start) ?? span.start, end: span.end };
}

function failureOf(
  error: unknown,
  signal: AbortSignal,
): {
  readonly reason: FailureReason;
  readonly detail: string;
  readonly wrongPiece: number | undefined;
  readonly retryAfterMs?: number;
  readonly refusal?: OriginRefusal | undefined;
} {
  const detail = messageOf(error);
  if (signal.aborted && !(signal.reason instanceof TransferError))
    return { reason: "cancelled", detail, wrongPiece: undefined };
  if (error instanceof WrongPiece)
    return { reason: error.reason, detail, wrongPiece: error.pieceIndex };
  if (error instanceof TransferError) {
    const { reason, retryAfterMs, refusal } = error;
    return { reason, detail, wrongPiece: undefined, retryAfterMs, refusal };
  }
  if (error instanceof PortError) return { reason: "storage", detail, wrongPiece: undefined };
  throw error;
}
