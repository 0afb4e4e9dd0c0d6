import type { Bitmap } from "@lacewing/contracts/bitmap.ts";

/**
 * The piece journal: what is known of one task's bytes, appended as it becomes true.
 *
 * The file is an 8-byte head (magic, format version) and records. A record is its body's length (u32), the body's CRC-32
 * (u32) and the body, whose first byte is its kind; all numbers little-endian. A record counts only when it is complete and
 * its CRC agrees, so a torn last write is as if it had never been made. The first record is always `created`.
 */
export type JournalRecord =
  | {
      readonly kind: "created";
      readonly incarnation: number;
      /** The task's description, in a form that this codec does not look into. */
      readonly description: Uint8Array;
    }
  | { readonly kind: "piece"; readonly pieceIndex: number; readonly sha256: Uint8Array }
  | { readonly kind: "verified" }
  | {
      readonly kind: "given_up";
      /** The incarnation that begins with the loss of these pieces. */
      readonly incarnation: number;
      readonly pieceIndexes: readonly number[];
    };

/** CRC-32 of bytes as an unsigned number; an argument, because core performs nothing. */
export type Crc32 = (bytes: Uint8Array) => number;

/** A record body is not longer: a description is a few KiB, giving up every piece of the largest task is 1 MiB. */
export const JOURNAL_RECORD_BYTES_MAX = 2 * 2 ** 20;
export const JOURNAL_HEAD_BYTES = 8;
export const PIECE_DIGEST_BYTES = 32;

/** "LWPJ", version 1, three bytes of zero. */
const HEAD = Uint8Array.of(0x4c, 0x57, 0x50, 0x4a, 1, 0, 0, 0);
const FRAME_BYTES = 8;

const KIND = { created: 1, piece: 2, verified: 3, given_up: 4 } as const satisfies Record<
  JournalRecord["kind"],
  number
>;

/** The first bytes of every journal. */
export function journalHead(): Uint8Array {
  return HEAD.slice();
}

/** One record as it is appended. */
export function encodeRecord(record: JournalRecord, crc32: Crc32): Uint8Array {
  const body = encodeBody(record);
  const out = new Uint8Array(FRAME_BYTES + body.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, body.length, true);
  view.setUint32(4, crc32(body), true);
  out.set(body, FRAME_BYTES);
  return out;
}

/** What could be read of a journal. */
export interface JournalReading {
  readonly records: readonly JournalRecord[];
  /** Bytes from the start that are sound; whatever follows is to be cut off. 0: not a journal of this version. */
  readonly soundBytes: number;
  /** Why reading stopped before the end of the file. */
  readonly damage: "head" | "torn" | "checksum" | "body" | undefined;
}

/** Reads records up to the end or to the first one that is torn, damaged or not understood. Never throws. */
export function readJournal(bytes: Uint8Array, crc32: Crc32): JournalReading {
  if (!startsWithHead(bytes)) return { records: [], soundBytes: 0, damage: "head" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: JournalRecord[] = [];
  let at = JOURNAL_HEAD_BYTES;
  while (at < bytes.length) {
    const stopped = (damage: JournalReading["damage"]) => ({ records, soundBytes: at, damage });
    if (bytes.length - at < FRAME_BYTES) return stopped("torn");
    const bodyBytes = view.getUint32(at, true);
    if (bodyBytes > JOURNAL_RECORD_BYTES_MAX) return stopped("checksum");
    if (bytes.length - at - FRAME_BYTES < bodyBytes) return stopped("torn");
    const body = bytes.subarray(at + FRAME_BYTES, at + FRAME_BYTES + bodyBytes);
    if (crc32(body) !== view.getUint32(at + 4, true)) return stopped("checksum");
    const record = decodeBody(body);
    if (record === undefined || (record.kind === "created") !== (records.length === 0)) {
      return stopped("body");
    }
    records.push(record);
    at += FRAME_BYTES + bodyBytes;
  }
  return { records, soundBytes: at, damage: undefined };
}

/** What a journal's records amount to. */
export interface JournalState {
  incarnation: number;
  isVerified: boolean;
  readonly held: Bitmap;
  /** Digest of piece i at byte 32 × i; zeros where the piece is not held. */
  readonly digests: Uint8Array;
}

/**
 * Folds one record into the state.
 *
 * @returns false when the record does not fit the task (a piece beyond its end): the journal ends before it.
 */
export function applyRecord(state: JournalState, record: JournalRecord): boolean {
  switch (record.kind) {
    case "created":
      state.incarnation = record.incarnation;
      return true;
    case "piece":
      if (record.pieceIndex >= state.held.size) return false;
      state.held.add(record.pieceIndex);
      state.digests.set(record.sha256, record.pieceIndex * PIECE_DIGEST_BYTES);
      return true;
    case "verified":
      if (!state.held.isFull) return false;
      state.isVerified = true;
      return true;
    case "given_up":
      for (const pieceIndex of record.pieceIndexes) state.held.delete(pieceIndex);
      state.incarnation = record.incarnation;
      state.isVerified = false;
      return true;
  }
}

function startsWithHead(bytes: Uint8Array): boolean {
  return bytes.length >= HEAD.length && HEAD.every((byte, at) => bytes[at] === byte);
}

function encodeBody(record: JournalRecord): Uint8Array {
  switch (record.kind) {
    case "created": {
      const body = new Uint8Array(9 + record.description.length);
      body[0] = KIND.created;
      new DataView(body.buffer).setBigUint64(1, BigInt(record.incarnation), true);
      body.set(record.description, 9);
      return body;
    }
    case "piece": {
      const body = new Uint8Array(5 + PIECE_DIGEST_BYTES);
      body[0] = KIND.piece;
      new DataView(body.buffer).setUint32(1, record.pieceIndex, true);
      body.set(record.sha256, 5);
      return body;
    }
    case "verified":
      return Uint8Array.of(KIND.verified);
    case "given_up": {
      const body = new Uint8Array(9 + 4 * record.pieceIndexes.length);
      const view = new DataView(body.buffer);
      body[0] = KIND.given_up;
      view.setBigUint64(1, BigInt(record.incarnation), true);
      record.pieceIndexes.forEach((pieceIndex, at) => view.setUint32(9 + 4 * at, pieceIndex, true));
      return body;
    }
  }
}

function decodeBody(body: Uint8Array): JournalRecord | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  switch (body[0] ?? 0) {
    case KIND.created: {
      const incarnation = incarnationAt(view);
      return incarnation === undefined
        ? undefined
        : { kind: "created", incarnation, description: copyFrom(body, 9) };
    }
    case KIND.piece:
      if (body.length !== 5 + PIECE_DIGEST_BYTES) return undefined;
      return { kind: "piece", pieceIndex: view.getUint32(1, true), sha256: copyFrom(body, 5) };
    case KIND.verified:
      return body.length === 1 ? { kind: "verified" } : undefined;
    case KIND.given_up: {
      const incarnation = incarnationAt(view);
      if (incarnation === undefined || (body.length - 9) % 4 !== 0) return undefined;
      const pieceIndexes = Array.from({ length: (body.length - 9) / 4 }, (_, at) =>
        view.getUint32(9 + 4 * at, true),
      );
      return { kind: "given_up", incarnation, pieceIndexes };
    }
    default:
      return undefined;
  }
}

function incarnationAt(view: DataView): number | undefined {
  if (view.byteLength < 9) return undefined;
  const incarnation = Number(view.getBigUint64(1, true));
  return Number.isSafeInteger(incarnation) ? incarnation : undefined;
}

/** A copy that does not keep the whole journal in memory; `slice` would not copy when the bytes are Node's `Buffer`. */
function copyFrom(body: Uint8Array, start: number): Uint8Array {
  return new Uint8Array(body.subarray(start));
}
