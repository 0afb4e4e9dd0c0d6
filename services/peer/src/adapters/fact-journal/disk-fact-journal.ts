import { constants } from "node:fs";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { FactJournal } from "../../app/control-plane.ts";
import { type FactLine, foldLines, formatLine } from "../../core/fact-log.ts";
import type { Disk } from "../disk/disk.ts";
import { nodeDisk } from "../disk/node-disk.ts";
import { readWholeFile, replaceFile } from "../disk/whole-file.ts";

/** The log is written anew, without what is settled, when it has grown to this size, or to twice what was left the last time. */
const COMPACT_BYTES = 4 * 1024 * 1024;
/** Facts kept in memory for sending again; older ones stay on disk until the next start. */
const PENDING_COUNT_MAX = 50_000;

export interface FactJournalOptions {
  /** For tests: a disk that fails. */
  readonly disk?: Disk;
  /** For tests: written anew at this size. */
  readonly compactBytes?: number;
  /** For tests: kept in memory. */
  readonly pendingCountMax?: number;
}

const checksum = (text: string): string => crc32(text).toString(16);

/** Lines that come within this are written together: a batch of small files makes hundreds in a second. */
const GATHER_MS = 10;
/** Lines kept while the disk refuses them; beyond this they are dropped, and said to be. */
const REFUSED_BYTES_MAX = 4 * 1024 * 1024;

const APPEND = constants.O_WRONLY | constants.O_CREAT;

/**
 * Download facts in one append-only file. Lines that come close together are written together; nothing on the
 * request path waits for the disk. A process that dies leaves `begin` lines without an end, which the next start turns into
 * `interrupted` downloads. What the disk refuses is written with the next lines.
 */
export class DiskFactJournal implements FactJournal {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #log: Log;
  readonly #pending = new Map<string, DownloadFinished>();
  readonly #compactBytes: number;
  readonly #pendingCountMax: number;
  /** `undefined`: to be opened. */
  #fd: number | undefined;
  #buffer = "";
  /** Begun since the last write; whatever ends before the next one needs no line for its beginning. */
  readonly #begun = new Map<string, DownloadFinished>();
  /** Begun before that, and not ended. */
  readonly #open = new Map<string, DownloadFinished>();
  /** Whether the file holds facts that memory had no room for. */
  #hasMoreOnDisk: boolean;
  /** Where the next line goes: what a write that failed left behind is written over. `undefined`: behind whatever the file holds. */
  #sizeBytes: number | undefined;
  #writing: Promise<void> = Promise.resolve();
  #compactAtBytes: number;
  #timer: NodeJS.Timeout | undefined;

  private constructor(
    path: string,
    log: Log,
    {
      disk,
      compactBytes,
      pendingCountMax,
      sizeBytes,
      hasMoreOnDisk,
    }: Required<FactJournalOptions> & {
      readonly sizeBytes: number;
      readonly hasMoreOnDisk: boolean;
    },
  ) {
    this.#disk = disk;
    this.#path = path;
    this.#log = log;
    this.#sizeBytes = sizeBytes;
    this.#compactBytes = compactBytes;
    this.#pendingCountMax = pendingCountMax;
    this.#compactAtBytes = Math.max(compactBytes, 2 * sizeBytes);
    this.#hasMoreOnDisk = hasMoreOnDisk;
  }

  /** @throws the system's error when the file cannot be read or written anew. */
  static async open(
    path: string,
    log: Log,
    {
      disk = nodeDisk,
      compactBytes = COMPACT_BYTES,
      pendingCountMax = PENDING_COUNT_MAX,
    }: FactJournalOptions = {},
  ): Promise<DiskFactJournal> {
    disk.makeFolder(dirname(path));
    const { ended, begun } = foldLines(readText(disk, path), checksum);
    const facts = [...ended, ...begun].map(([id, fact]) => [id, decodeFact(fact)] as const);
    const text = Buffer.from(
      facts
        .map(([id, fact]) => formatLine({ kind: "end", id, fact: encodeFact(fact) }, checksum))
        .join(""),
    );
    await replaceFile(disk, path, text);
    const journal = new DiskFactJournal(path, log, {
      disk,
      compactBytes,
      pendingCountMax,
      sizeBytes: text.length,
      hasMoreOnDisk: facts.length > pendingCountMax,
    });
    for (const [id, fact] of facts.slice(0, pendingCountMax)) journal.#pending.set(id, fact);
    if (begun.size > 0) log.warn("downloads were interrupted by a crash", { count: begun.size });
    return journal;
  }

  pending(): IterableIterator<DownloadFinished> {
    return this.#pending.values();
  }

  begin(fact: DownloadFinished): void {
    this.#begun.set(fact.downloadId, fact);
    this.#writeSoon();
  }

  end(fact: DownloadFinished): void {
    this.#begun.delete(fact.downloadId);
    this.#open.delete(fact.downloadId);
    if (this.#pending.size < this.#pendingCountMax) this.#pending.set(fact.downloadId, fact);
    else this.#hasMoreOnDisk = true;
    this.#append({ kind: "end", id: fact.downloadId, fact: encodeFact(fact) });
  }

  receipted(downloadIds: readonly string[]): void {
    for (const id of downloadIds) {
      this.#pending.delete(id);
      this.#append({ kind: "receipt", id });
    }
  }

  async close(): Promise<void> {
    this.#flush();
    await this.#writing;
    this.#closeFile();
  }

  #append(line: FactLine): void {
    this.#buffer += formatLine(line, checksum);
    this.#writeSoon();
  }

  #writeSoon(): void {
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [id, fact] of this.#begun) {
      this.#buffer += formatLine({ kind: "begin", id, fact: encodeFact(fact) }, checksum);
      this.#open.set(id, fact);
    }
    this.#begun.clear();
    const text = this.#buffer;
    this.#buffer = "";
    if (text === "") return;
    this.#writing = this.#writing.then(() => this.#write(text));
  }

  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    try {
      const startedAt = (this.#sizeBytes ??= (await this.#disk.look(this.#path))?.sizeBytes ?? 0);
      this.#fd ??= this.#disk.open(this.#path, APPEND);
      for (let at = 0; at < bytes.length;) {
        const stretch = { at, length: bytes.length - at, position: startedAt + at };
        at += await this.#disk.write(this.#fd, bytes, stretch);
      }
      this.#sizeBytes = startedAt + bytes.length;
    } catch (error) {
      this.#refused(text, error);
      return;
    }
    if (this.#sizeBytes >= this.#compactAtBytes) await this.#compact(this.#sizeBytes);
  }

  /** The lines go with the next ones, unless too many wait already. */
  #refused(text: string, error: unknown): void {
    const isKept = text.length + this.#buffer.length <= REFUSED_BYTES_MAX;
    if (isKept) this.#buffer = text + this.#buffer;
    const [bytes, isLost] = [text.length, !isKept];
    this.#log.error("download facts cannot be written", { error: messageOf(error), bytes, isLost });
  }

  /** Lines that are still buffered tell what came later, or the same once more, whatever was written anew. */
  async #compact(grownToBytes: number): Promise<void> {
    try {
      const text = Buffer.from(this.#hasMoreOnDisk ? this.#unsettledOnDisk() : this.#unsettled());
      await replaceFile(this.#disk, this.#path, text);
      this.#closeFile();
      this.#sizeBytes = text.length;
    } catch (error) {
      // Which file lies there now is not known: the next line goes behind all that it holds.
      this.#closeFile();
      this.#sizeBytes = undefined;
      this.#log.warn("the log of download facts grows on", { error: messageOf(error) });
    }
    this.#compactAtBytes = Math.max(this.#compactBytes, 2 * (this.#sizeBytes ?? grownToBytes));
  }

  #unsettled(): string {
    const asLine = (kind: "begin" | "end", id: string, fact: DownloadFinished) =>
      formatLine({ kind, id, fact: encodeFact(fact) }, checksum);
    const begun = Array.from(this.#open, ([id, fact]) => asLine("begin", id, fact));
    return begun
      .concat(Array.from(this.#pending, ([id, fact]) => asLine("end", id, fact)))
      .join("");
  }

  /** All of it costs as much as writing it did: a host with many small downloads must not need it. */
  #unsettledOnDisk(): string {
    const { ended, begun } = foldLines(readText(this.#disk, this.#path), checksum);
    const asLines = (kind: "begin" | "end", facts: ReadonlyMap<string, string>) =>
      Array.from(facts, ([id, fact]) => formatLine({ kind, id, fact }, checksum));
    return [...asLines("begin", begun), ...asLines("end", ended)].join("");
  }

  #closeFile(): void {
    if (this.#fd === undefined) return;
    try {
      this.#disk.close(this.#fd);
    } catch (error) {
      this.#log.warn("the log of download facts did not close", { error: messageOf(error) });
    }
    this.#fd = undefined;
  }
}

function readText(disk: Disk, path: string): string {
  return readWholeFile(disk, path)?.toString("utf8") ?? "";
}

/** JSON: it is written for every download, and the engine itself makes it. */
function encodeFact(fact: DownloadFinished): string {
  return JSON.stringify(fact);
}

/** Older logs hold the encoded message instead. */
function decodeFact(text: string): DownloadFinished {
  if (!text.startsWith("{")) return DownloadFinished.decode(Buffer.from(text, "base64url"));
  const fields: unknown = JSON.parse(text);
  return DownloadFinished.fromPartial(isFact(fields) ? fields : {});
}

/** Of our own making, as the line's checksum says. */
function isFact(fields: unknown): fields is Partial<DownloadFinished> {
  return typeof fields === "object" && fields !== null && "downloadId" in fields;
}
