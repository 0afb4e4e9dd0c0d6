import { constants } from "node:fs";
import { crc32 } from "node:zlib";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type { TaskDescription } from "../../app/ports.ts";
import {
  applyRecord,
  encodeRecord,
  journalHead,
  type JournalReading,
  type JournalRecord,
  type JournalState,
  PIECE_DIGEST_BYTES,
  readJournal,
} from "../../core/journal-records.ts";
import type { Disk } from "../disk/disk.ts";
import { decodeDescription, encodeDescription } from "./description-json.ts";
import {
  closeFile,
  type OpenTaskFiles,
  readExactly,
  type TaskPaths,
  writeAll,
} from "./task-files.ts";

/** A journal as recovery found it. */
export interface RecoveredJournal {
  readonly description: TaskDescription;
  readonly state: JournalState;
  /** The file is to be cut to this length before anything is appended. */
  readonly soundBytes: number;
  readonly damage: JournalReading["damage"] | "misfit";
}

/**
 * Reads a journal up to the first record that does not count.
 *
 * @returns why it is of no use when not even the description could be read.
 * @throws the system's error or a {@link PortError} when the file cannot be read.
 */
export async function readJournalFile(
  disk: Disk,
  path: string,
  fileBytes: number,
): Promise<RecoveredJournal | string> {
  const reading = readJournal(await readWhole(disk, path, fileBytes), crc32);
  const [created, ...rest] = reading.records;
  if (created?.kind !== "created")
    return `unreadable from the start (${reading.damage ?? "empty"})`;
  const description = decodeDescription(Buffer.from(created.description).toString("utf8"));
  if (description === undefined) return "description is not understood";
  const state = emptyState(description);
  applyRecord(state, created);
  const misfitAt = rest.findIndex((record) => !applyRecord(state, record));
  if (misfitAt === -1) {
    return { description, state, soundBytes: reading.soundBytes, damage: reading.damage };
  }
  const sound = [created, ...rest.slice(0, misfitAt)];
  return { description, state, soundBytes: encodeJournal(sound).length, damage: "misfit" };
}

/** The state of a task of which nothing is held. */
export function emptyState(description: TaskDescription): JournalState {
  const pieceCount = pieceCountOf(description);
  return {
    incarnation: 0,
    isVerified: false,
    held: new Bitmap(pieceCount),
    digests: new Uint8Array(pieceCount * PIECE_DIGEST_BYTES),
  };
}

/** The first bytes of a new task's journal. */
export function newJournal(description: TaskDescription, incarnation: number): Uint8Array {
  const created: JournalRecord = {
    kind: "created",
    incarnation,
    description: Buffer.from(encodeDescription(description)),
  };
  // Empty content has nothing that could be wrong.
  return encodeJournal(description.lengthBytes > 0 ? [created] : [created, { kind: "verified" }]);
}

interface PendingRecord {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Appends to one task's journal: one write at a time, which carries everything that came meanwhile. What a write that
 * failed may have left behind is overwritten by the next one.
 */
export class JournalWriter {
  readonly #disk: Disk;
  readonly #files: OpenTaskFiles;
  readonly #paths: TaskPaths;
  #endOffset: number;
  #pending: PendingRecord[] = [];
  #flushing: Promise<void> | undefined;

  constructor(disk: Disk, files: OpenTaskFiles, paths: TaskPaths, endOffset: number) {
    this.#disk = disk;
    this.#files = files;
    this.#paths = paths;
    this.#endOffset = endOffset;
  }

  /**
   * Resolves when the record is with the kernel. It is not synced: after a power loss the record may be missing, or there
   * without the bytes it speaks of, which is why recovered pieces are proven before they are served.
   *
   * @throws {PortError} `store_no_space` or `store_write_failed`; then the record does not count.
   */
  async append(record: JournalRecord): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ bytes: encodeRecord(record, crc32), resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    await this.#flushing;
  }

  async #flush(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const batch = this.#pending.splice(0);
        try {
          const bytes = Buffer.concat(batch.map((record) => record.bytes));
          await this.#files.use(this.#paths, async (files) =>
            writeAll(this.#disk, files.journalFd, bytes, this.#endOffset),
          );
          this.#endOffset += bytes.length;
          for (const record of batch) record.resolve();
        } catch (error) {
          for (const record of batch) record.reject(error);
        }
      }
    } finally {
      this.#flushing = undefined;
    }
  }
}

function encodeJournal(records: readonly JournalRecord[]): Uint8Array {
  return Buffer.concat([journalHead(), ...records.map((record) => encodeRecord(record, crc32))]);
}

async function readWhole(disk: Disk, path: string, fileBytes: number): Promise<Buffer> {
  const fd = disk.open(path, constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(fileBytes);
    await readExactly(disk, fd, bytes, fileBytes, 0);
    return bytes;
  } finally {
    closeFile(disk, fd);
  }
}
