import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { FactJournal } from "../../app/control-plane.ts";
import { type FactLine, foldLines, formatLine } from "../../core/fact-log.ts";

/** The log is written anew, without what is settled, when it has grown to this size, or to twice what was left the last time. */
const COMPACT_BYTES = 4 * 1024 * 1024;
/** Facts kept in memory for sending again; older ones stay on disk until the next start. */
const PENDING_COUNT_MAX = 50_000;

const checksum = (text: string): string => crc32(text).toString(16);

/** Lines that come within this are written together: a batch of small files makes hundreds in a second. */
const GATHER_MS = 10;

/**
 * Download facts in one append-only file. Lines that come close together are written together; nothing on the
 * request path waits for the disk. A process that dies leaves `begin` lines without an end, which the next start turns into
 * `interrupted` downloads.
 */
export class DiskFactJournal implements FactJournal {
  readonly #path: string;
  readonly #log: Log;
  readonly #pending = new Map<string, DownloadFinished>();
  readonly #compactBytes: number;
  #file: FileHandle;
  #buffer = "";
  /** Begun since the last write; whatever ends before the next one needs no line for its beginning. */
  readonly #begun = new Map<string, DownloadFinished>();
  #sizeBytes: number;
  #writing: Promise<void> = Promise.resolve();
  #compactAtBytes: number;
  #timer: NodeJS.Timeout | undefined;
  /** The last write failed and may have left part of a line. */
  #isTorn = false;

  private constructor(
    path: string,
    log: Log,
    file: FileHandle,
    sizes: { readonly sizeBytes: number; readonly compactBytes: number },
  ) {
    this.#path = path;
    this.#log = log;
    this.#file = file;
    this.#sizeBytes = sizes.sizeBytes;
    this.#compactBytes = sizes.compactBytes;
    this.#compactAtBytes = Math.max(sizes.compactBytes, 2 * sizes.sizeBytes);
  }

  /** `compactBytes` is for tests. */
  static async open(
    path: string,
    log: Log,
    compactBytes: number = COMPACT_BYTES,
  ): Promise<DiskFactJournal> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const { ended, begun } = foldLines(readIfPresent(path), checksum);
    const facts = [...ended, ...begun].map(([id, fact]) => [id, decodeFact(fact)] as const);
    const lines = facts.map(([id, fact]) =>
      formatLine({ kind: "end", id, fact: encodeFact(fact) }, checksum),
    );
    writeAnew(path, lines.join(""));
    const file = await open(path, "a", 0o600);
    const sizeBytes = lines.join("").length;
    const journal = new DiskFactJournal(path, log, file, { sizeBytes, compactBytes });
    for (const [id, fact] of facts.slice(0, PENDING_COUNT_MAX)) journal.#pending.set(id, fact);
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
    if (this.#pending.size < PENDING_COUNT_MAX) this.#pending.set(fact.downloadId, fact);
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
    await this.#file.close();
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
    }
    this.#begun.clear();
    const text = this.#buffer;
    this.#buffer = "";
    if (text === "") return;
    this.#writing = this.#writing
      .then(() => this.#write(text))
      .catch((error: unknown) =>
        this.#log.error("download facts cannot be written", { error: messageOf(error) }),
      );
  }

  async #write(text: string): Promise<void> {
    // The rest of a torn line must not swallow the next one.
    const whole = this.#isTorn ? `\n${text}` : text;
    this.#isTorn = true;
    await this.#file.appendFile(whole);
    this.#isTorn = false;
    this.#sizeBytes += whole.length;
    if (this.#sizeBytes >= this.#compactAtBytes) await this.#compact();
  }

  /**
   * From the file, not from memory, which does not keep everything. Lines that are still buffered tell what came later,
   * whatever was written anew.
   */
  async #compact(): Promise<void> {
    const { ended, begun } = foldLines(readIfPresent(this.#path), checksum);
    const asLines =
      (kind: "begin" | "end") =>
      ([id, fact]: readonly [string, string]): string =>
        formatLine({ kind, id, fact }, checksum);
    const lines = [...[...begun].map(asLines("begin")), ...[...ended].map(asLines("end"))].join("");
    writeAnew(this.#path, lines);
    await this.#file.close();
    this.#file = await open(this.#path, "a", 0o600);
    this.#sizeBytes = lines.length;
    this.#compactAtBytes = Math.max(this.#compactBytes, 2 * lines.length);
  }
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}

/** Replaces the file in one step: a crash leaves the old one or the new one. */
function writeAnew(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function encodeFact(fact: DownloadFinished): string {
  return Buffer.from(DownloadFinished.encode(fact).finish()).toString("base64url");
}

function decodeFact(text: string): DownloadFinished {
  return DownloadFinished.decode(Buffer.from(text, "base64url"));
}
