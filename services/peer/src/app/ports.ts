import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import type { FailureReason } from "@lacewing/contracts/events/reasons.ts";
import type { Digest, TaskId } from "@lacewing/contracts/ids.ts";
import type { ByteSpan, PieceLayout } from "@lacewing/contracts/pieces.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { HeaderList } from "../core/http-headers.ts";
import type { Rule } from "../core/rules.ts";

/**
 * What the peer's rules and flows need from the world, named for the need. Adapters implement these; in-memory twins
 * serve unit tests and are held to the same suites (test/contract).
 */

// ---------------------------------------------------------------------------------------------------- piece store

/** What is known of a task's content. Fixed when the task is created, kept beside the bytes. */
export interface TaskDescription {
  readonly taskId: TaskId;
  /** Without user info, signatures or other secrets. */
  readonly url: string;
  readonly sharingDomain: string;
  readonly anchor: Digest | undefined;
  readonly lengthBytes: number;
  readonly pieceLengthBytes: number;
  /** Strong ETag of the origin's answer, or empty. */
  readonly etag: string;
  readonly lastModified: string;
  readonly contentType: string;
  readonly createdAtMs: number;
}

/** Where room for a new task may come from: `make`: what was not used for longest goes for it; `free`: nothing goes. */
export type RoomWish = "make" | "free";

/** Why the store would not take a new task. */
export type StoreRefusal =
  | "no_room"
  /** Something would have to go for it. */
  | "no_free_room"
  | "store_failed";

/** All content on this host's disk. */
export interface PieceStore {
  get(taskId: TaskId): StoredTask | undefined;
  /**
   * Reserves room for the whole content (evicting idle tasks when needed) and creates an empty task, or returns the
   * existing one when it has the same length.
   *
   * @param wish default: `make`.
   */
  create(description: TaskDescription, wish?: RoomWish): Promise<StoredTask | StoreRefusal>;
  /** Gives the room of a task back that holds nothing, unless somebody uses it. Nobody is told: nothing is lost. */
  giveBack(task: StoredTask): Promise<void>;
  list(): IterableIterator<StoredTask>;
  /** Gives a task up, pinned or not. Readers that still hold it get errors. */
  remove(taskId: TaskId): Promise<void>;
  usage(): StoreUsage;
  /** Whether the operator wants the task kept. */
  isPinned(taskId: TaskId): boolean;
  /**
   * Keeps a held task whatever else needs room, over restarts too, or lets it be evicted again.
   * @returns false when the task is not held, or too many are pinned.
   */
  pin(taskId: TaskId, isPinned: boolean): Promise<boolean>;
  /** Told whenever a task lost pieces: evicted, removed or found damaged. */
  onDropped(listener: (dropped: DroppedTask) => void): void;
  /** Told now and then, and at the last one, as pieces that were found at the start come to be offered. */
  onOffered(listener: (taskId: TaskId) => void): void;
  close(): Promise<void>;
}

export interface StoreUsage {
  /** Bytes reserved by tasks. */
  readonly usedBytes: number;
  readonly quotaBytes: number;
  /** Free on the disk. */
  readonly freeBytes: number;
}

export interface DroppedTask {
  readonly taskId: TaskId;
  /** The incarnation that begins now. */
  readonly incarnation: number;
  readonly reason: "evicted" | "removed" | "damaged";
}

/** One task's bytes on disk. */
export interface StoredTask {
  readonly description: TaskDescription;
  readonly layout: PieceLayout;
  /** Grows when pieces are given up and with every start; survives restarts, also of removed tasks that come back. */
  readonly incarnation: number;
  /** Pieces that were verified and journaled. Not to be changed by the caller. */
  readonly held: Bitmap;
  /**
   * The held pieces that other hosts may be told of: hashed since this process started, whatever came of the disk while it was
   * away. Not to be changed by the caller.
   */
  readonly offered: Bitmap;
  /** Whether the whole content was hashed and agrees with the anchor (or, without one, was hashed at all). */
  readonly isVerified: boolean;
  readonly usedAtMs: number;
  /** Whether somebody holds a {@link pin}. */
  readonly isPinned: boolean;
  /** SHA-256 of a held piece, 32 bytes. */
  digestOf(pieceIndex: number): Uint8Array | undefined;
  /** Writes bytes of pieces that are not held yet. The buffer may be used again when this settles. */
  write(buffer: Uint8Array, offset: number): Promise<void>;
  /**
   * Reads exactly `length` bytes at `offset` into `buffer` from its start.
   * @throws {PortError} `store_read_failed`, not retryable.
   */
  read(buffer: Uint8Array, offset: number, length: number): Promise<void>;
  /**
   * Hashes a written piece from the disk, off the main thread. When it agrees with `expected` (or nothing is expected)
   * the piece is journaled and held.
   */
  commitPiece(
    pieceIndex: number,
    expected: Uint8Array | undefined,
  ): Promise<{ readonly ok: boolean; readonly sha256: Uint8Array }>;
  /**
   * Whether a held piece is known to be sound: hashed since this process started, and read so recently that its bytes are still
   * in memory. Otherwise hashes it off the main thread; a damaged piece is given up (incarnation grows, listeners of `onDropped` are told) and `false` comes back.
   */
  prove(pieceIndex: number): Promise<boolean>;
  /** Whether {@link prove} would answer `true` without hashing. */
  isProven(pieceIndex: number): boolean;
  /** Hashes held pieces again, whatever was proven before; gives damaged ones up. @returns the damaged ones. */
  recheck(pieceIndexes: readonly number[]): Promise<readonly number[]>;
  /**
   * The digest of the whole content, every piece of which is held. Hashing runs in the background as pieces are
   * committed in order, so this is usually quick. Does not mark anything.
   */
  contentDigest(): Promise<Digest>;
  /** Journals that the content agrees with its anchor. */
  markVerified(): Promise<void>;
  /**
   * The whole held content when it is in memory and was hashed there, not to be changed; `undefined`: it is to be {@link read}. Absent
   * where content is on the disk alone.
   */
  inMemory?(): Uint8Array | undefined;
  /** Keeps the task from eviction until the returned function is called. */
  pin(): () => void;
}

// --------------------------------------------------------------------------------------------------- piece transfer

/** An answer of the origin that this client's own credentials earned it, in place of content that it was granted before. */
export interface OriginRefusal {
  readonly status: number;
  readonly headers: HeaderList;
  /** Empty when it is long, or of unknown length. */
  readonly body: Uint8Array;
}

/** A transfer from a parent or the origin ended early. */
export class TransferError extends PortError {
  readonly reason: FailureReason;
  /** How long the origin asks to be left alone; 0 when it does not say. */
  readonly retryAfterMs: number;
  /** What the origin answered, when asking again in the same name would bring nothing else. */
  readonly refusal: OriginRefusal | undefined;
  constructor(
    reason: FailureReason,
    message: string,
    cause?: unknown,
    retryAfterMs = 0,
    refusal?: OriginRefusal,
  ) {
    super(`transfer_${reason}`, message, { retryable: true, cause });
    this.name = "TransferError";
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
    this.refusal = refusal;
  }
}

/** Where received bytes go. */
export interface TransferSink {
  /** Writes at an absolute offset of the content; the buffer may be used again when this settles. */
  write(buffer: Uint8Array, offset: number): Promise<void>;
  /** Every byte of the span below this absolute offset is written. Called often; must be quick. */
  written(endOffset: number): void;
}

/** One contiguous read from a parent. */
export interface ParentRead {
  /** host:port of the parent's piece server. */
  readonly address: string;
  readonly taskId: TaskId;
  readonly span: ByteSpan;
  /** Whether the span is all of the content. */
  readonly isWhole: boolean;
  /** The parent may have to wait for what is asked: nothing else may wait with it. */
  readonly isAhead?: boolean;
  readonly token: string;
  readonly traceparent: string;
}

/** Reads from other hosts over kept-open connections. */
export interface PieceClient {
  /**
   * Resolves when every byte of the span is written.
   * @throws {TransferError} with the reason; the signal's reason when it aborts.
   */
  read(request: ParentRead, sink: TransferSink, signal: AbortSignal): Promise<void>;
  close(): void;
}

// ----------------------------------------------------------------------------------------------------------- origin

export type { HeaderList } from "../core/http-headers.ts";

/** A request to the origin on behalf of a client. */
export interface OriginRequest {
  readonly method: "GET" | "HEAD";
  readonly url: URL;
  /** Path and query as the client wrote them: a signature may cover every character. `undefined`: those of the URL. */
  readonly path?: string | undefined;
  /** The client's own headers, hop-by-hop ones removed; credentials included. */
  readonly headers: HeaderList;
  /** Replaces any `Range` of the client: bytes [start, end), or to the end of the content; `undefined`: the whole content. */
  readonly range: { readonly start: number; readonly end: number | undefined } | undefined;
  /** The client's own `Range` field, sent as it is in place of `range`: the origin is to answer it. */
  readonly clientRange?: string | undefined;
  /** Sent as the client sent it: no field is replaced, `range` and `ifRange` do not count, and no redirect is followed. */
  readonly isAsItCame?: boolean | undefined;
  /** Sent with a range so that changed content comes back whole and can be noticed. */
  readonly ifRange: string | undefined;
  /** Whether a plain-http URL is to be asked by TLS: "auto" tries TLS first on port 80 and remembers per host. */
  readonly useTls: boolean | "auto";
  /** Among whose connections this one counts; `undefined`: nobody's in particular. */
  readonly client?: string | undefined;
}

/**
 * The origin's answer, redirects followed. A redirect that needs its client's own state is not: it sets a cookie that its target is
 * shown, goes round in a circle, or ends elsewhere with a refusal or an error. The answer is the redirect itself then.
 */
export interface OriginResponse {
  readonly status: number;
  /** Without what names content, when it came from elsewhere; what the asked server said of the content is added. */
  readonly headers: HeaderList;
  /** It came from another authority than the one that was asked, by a redirect. */
  readonly isElsewhere: boolean;
  /** The first value of a header, by lower-case name. */
  header(name: string): string | undefined;
  /** Length of this answer's body when it says so. */
  readonly bodyLength: number | undefined;
  /**
   * Body bytes in order; read at most once. A chunk is good until the one after the next is asked for. Ends with an error when
   * the origin breaks off early.
   */
  readonly body: AsyncIterable<Uint8Array>;
  /** Breaks the answer off; the connection is not used again unless the body had ended. */
  discard(): void;
}

export interface OriginClient {
  /**
   * @throws {PortError} `origin_unreachable` or `origin_timeout`, retryable; while the body is read also
   *   `origin_broken_off`. The signal's reason when it aborts.
   */
  open(request: OriginRequest, signal: AbortSignal): Promise<OriginResponse>;
  close(): void;
}

// ------------------------------------------------------------------------------------------------------------ client

/** A body that is pulled: the adapter owns the buffers, the flow owns the order and the waiting. */
export interface PullBody {
  /** Fills `into` from its start. @returns bytes filled; 0 at the end. Rejects when the body cannot be completed. */
  read(into: Uint8Array): Promise<number>;
  /**
   * All of it, before anything was read, when it is in memory: it is handed over by that, and the body is at its end. Not to be changed.
   */
  takeWhole?(): Uint8Array | undefined;
}

/** How the delivery of an answer ended, as the adapter saw it. */
export type DeliveryEnd = "complete" | "client_gone" | "broken_off";

/** What a client gets for a request that a rule wants. */
export interface DownloadAnswer {
  readonly status: number;
  readonly headers: HeaderList;
  /** `undefined`: no body (HEAD, 304, …). */
  readonly body: PullBody | undefined;
  /** Bytes the body will have; `undefined`: not known, send chunked. */
  readonly bodyLength: number | undefined;
  /** To be called once, when the delivery is over in whatever way. */
  ended(how: DeliveryEnd): void;
  /** The same status, headers and content are for everybody who asks for the same and says nothing else that matters. */
  readonly again?: RepeatableAnswer | undefined;
}

/** An answer that others may get as well, word for word. */
export interface RepeatableAnswer {
  /**
   * Gives it once more, without the flow that a request takes otherwise.
   *
   * @param receivedAtMs when the request's head was complete, by the monotonic clock.
   * @returns `undefined` when this request is to take that flow: what was answered may not be so any more, or it is to be recorded.
   */
  begin(receivedAtMs: number): RepeatedAnswer | undefined;
}

export interface RepeatedAnswer {
  /** All of it; not to be changed. */
  readonly content: Uint8Array;
  /** To be called once. @param deliveredBytes handed to the client's socket. */
  ended(how: "complete" | "client_gone", deliveredBytes: number): void;
}

/** A client's request as the proxy port understood it, whichever way in it took. */
export interface ClientRequest {
  readonly method: "GET" | "HEAD";
  /** Absolute URL at the origin. */
  readonly url: URL;
  /** Its path and query as the client wrote them; `undefined`: those of the URL. */
  readonly path?: string | undefined;
  /** Hop-by-hop and proxy headers removed. */
  readonly headers: HeaderList;
  header(name: string): string | undefined;
  /** When the request's head was complete, by the monotonic clock. */
  readonly receivedAtMs: number;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  /** Where it comes from: connections to origins are bounded by that. `undefined`: from this machine, by its own socket. */
  readonly client?: string | undefined;
}

/** Content that an answer of an origin named to a client, which is about to ask for it. */
export interface ForetoldContent {
  readonly url: URL;
  readonly rule: Rule;
  /** As the client will send them. */
  readonly headers: HeaderList;
  readonly digest: Digest;
  readonly lengthBytes: number;
  /** Whether the server that named the content is the one that owns it: then its naming is its yes to this client. */
  readonly isGranted: boolean;
  /** As in {@link ClientRequest}. */
  readonly client?: string | undefined;
}

/** Downloads, as the ways in ask for them. */
export interface DownloadPort {
  /**
   * Answers a request that a rule wants; the rule's `redirect` is already applied to the URL. The caller delivers the answer
   * and calls its `ended`.
   *
   * @throws {PortError} when there is nothing to answer with: the client is told 502 or 504. The signal's reason when it aborts.
   */
  answer(request: ClientRequest, rule: Rule): Promise<DownloadAnswer>;
  /** Makes ready for requests that will come in a moment. */
  foretell(contents: readonly ForetoldContent[], traceparent: string): void;
}
