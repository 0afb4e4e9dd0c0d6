import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { FactJournal } from "../../app/control-plane.ts";
import { type FactLine, foldLines, formatLine } from "../../core/fact-log.ts";

/** The log is written anew, without what is settled, when it has grown to this size. */
const COMPACT_BYTES = 4 * 1024 * 1024;
/** Facts kept in memory for sending again; older ones stay on disk until the next start. */
const PENDING_COUNT_MAX = 50_000;

const checksum = (text: string): string => crc32(text).toString(16);

/**
 * Download facts in one append-only file. Lines of one turn of the event loop are written together; nothing on the request
 * path waits for the disk. A process that dies leaves `begin` lines without an end, which the next start turns into
 * `interrupted` downloads.
 */
export class DiskFactJournal implements FactJournal {
  readonly #path: string;
  readonly #log: Log;
  readonly #pending = new Map<string, DownloadFinished>();
  readonly #begun = new Map<string, DownloadFinished>();
  #file: FileHandle;
  #buffer = "";
  #sizeBytes: number;
  #writing: Promise<void> = Promise.resolve();
  #isScheduled = false;

  private constructor(path: string, log: Log, file: FileHandle, sizeBytes: number) {
    this.#path = path;
    this.#log = log;
    this.#file = file;
    this.#sizeBytes = sizeBytes;
  }

  static async open(path: string, log: Log): Promise<DiskFactJournal> {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const { ended, begun } = foldLines(readIfPresent(path), checksum);
    const facts = [...ended, ...begun].map(([id, fact]) => [id, decodeFact(fact)] as const);
    const lines = facts.map(([id, fact]) =>
      formatLine({ kind: "end", id, fact: encodeFact(fact) }, checksum),
    );
    writeAnew(path, lines.join(""));
    const file = await open(path, "a", 0o600);
    const journal = new DiskFactJournal(path, log, file, lines.join("").length);
    for (const [id, fact] of facts) journal.#pending.set(id, fact);
    if (begun.size > 0) log.warn("downloads were interrupted by a crash", { count: begun.size });
    return journal;
  }

  pending(): IterableIterator<DownloadFinished> {
    return this.#pending.values();
  }

  begin(fact: DownloadFinished): void {
    this.#begun.set(fact.downloadId, fact);
    this.#append({ kind: "begin", id: fact.downloadId, fact: encodeFact(fact) });
  }

  end(fact: DownloadFinished): void {
    this.#begun.delete(fact.downloadId);
    if (this.#pending.size < PENDING_COUNT_MAX) this.#pending.set(fact.downloadId, fact);
    this.#append({ kind: "end", id: fact.downloadId, fact: encodeFact(fact) });
  }

  receipted(downloadIds: readonly string[]): void {
    for (const id of downloadIds) {
      if (this.#pending.delete(id)) this.#append({ kind: "receipt", id });
    }
  }

  async close(): Promise<void> {
    this.#flush();
    await this.#writing;
    await this.#file.close();
  }

  #append(line: FactLine): void {
    this.#buffer += formatLine(line, checksum);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
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
    await this.#file.appendFile(text);
    this.#sizeBytes += text.length;
    if (this.#sizeBytes < COMPACT_BYTES) return;
    const lines = [
      ...[...this.#begun].map(([id, fact]) =>
        formatLine({ kind: "begin", id, fact: encodeFact(fact) }, checksum),
      ),
      ...[...this.#pending].map(([id, fact]) =>
        formatLine({ kind: "end", id, fact: encodeFact(fact) }, checksum),
      ),
    ].join("");
    // Lines that are still buffered are about downloads that the maps hold already; writing them again is harmless.
    writeAnew(this.#path, lines);
    await this.#file.close();
    this.#file = await open(this.#path, "a", 0o600);
    this.#sizeBytes = Math.min(lines.length, COMPACT_BYTES / 2);
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
