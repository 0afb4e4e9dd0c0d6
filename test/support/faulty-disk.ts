import { constants, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Disk, FileLook, Stretch } from "@lacewing/peer/adapters/disk/disk.ts";
import { nodeDisk } from "@lacewing/peer/adapters/disk/node-disk.ts";

const WRITES: ReadonlySet<keyof Disk> = new Set(["write", "writeSync"]);
const READS: ReadonlySet<keyof Disk> = new Set(["read", "readSync"]);

/** Whether a fault is something else at this step than EIO or a crash. */
export function isOwnFault({ name }: DiskStep, fault: DiskFault): boolean {
  switch (fault) {
    case "EIO":
    case "crash":
      return true;
    case "ENOSPC":
      return TAKES_SPACE.has(name);
    case "short":
      return WRITES.has(name) || READS.has(name);
    case "torn":
    case "torn crash":
      return WRITES.has(name);
  }
}

/** One call of the disk. */
export interface DiskStep {
  /** Counted from 0. */
  readonly index: number;
  readonly name: keyof Disk;
  readonly path: string;
}

export const FAULTS = ["EIO", "ENOSPC", "torn", "short", "crash", "torn crash"] as const;

/**
 * What goes wrong at a step. EIO and ENOSPC: nothing of it happens. torn: half of a write happens, then EIO. short: half of a read or write
 * happens and is said so. crash: the process is gone before the step, or in the middle of a write (torn crash).
 */
export type DiskFault = (typeof FAULTS)[number];

type Change =
  | { readonly position: number; readonly bytes: Buffer }
  | { readonly lengthBytes: number };

/** A file's contents, whatever its names are. */
interface Inode {
  durable: Buffer;
  /** Since the last sync. */
  changes: Change[];
}

interface OpenFile {
  readonly path: string;
  /** `undefined`: a folder. */
  readonly inode: Inode | undefined;
}

/** Disks lose what was not synced by whole sectors. */
const SECTOR_BYTES = 512;

/**
 * The real disk below a folder, made to fail. It also knows what of the writes and names has not been synced, so that a power
 * loss can forget any of it.
 */
export class FaultyDisk implements Disk {
  readonly steps: DiskStep[] = [];
  readonly #root: string;
  readonly #faultAt: (step: DiskStep) => DiskFault | undefined;
  readonly #files = new Map<number, OpenFile>();
  readonly #names = new Map<string, Inode>();
  readonly #durableNames = new Map<string, Inode>();
  /** What a name stood for, since its folder was synced last. */
  readonly #nameChanges = new Map<string, (Inode | undefined)[]>();
  /** How files look although a byte of theirs was flipped. */
  readonly #flipped = new Map<string, FileLook | undefined>();
  readonly #running = new Set<Promise<unknown>>();
  #isDead = false;
  #freeBytes: number | undefined;

  /** Everything that lies below `root` counts as synced. */
  constructor(root: string, faultAt: (step: DiskStep) => DiskFault | undefined = () => undefined) {
    this.#root = root;
    this.#faultAt = faultAt;
    for (const path of filesBelow(root)) {
      const inode = { durable: readFileSync(path), changes: [] };
      this.#names.set(path, inode);
      this.#durableNames.set(path, inode);
    }
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** What `space` says is free from now on. */
  set freeBytes(bytes: number) {
    this.#freeBytes = bytes;
  }

  /** Turns a byte over below the file system: nothing about the file tells of it until somebody writes to it. */
  flip(path: string, offset: number): void {
    this.#flipped.set(path, this.#flipped.get(path) ?? nodeDisk.lookSync(path));
    const bytes = readFileSync(path);
    bytes[offset] = (bytes[offset] ?? 0) ^ 0xff;
    writeFileSync(path, bytes);
  }

  // ----------------------------------------------------------------------------------------------------- the port

  open(path: string, flags: number): number {
    this.#step("open", path);
    const fd = nodeDisk.open(path, flags);
    const isFolder = statSync(path).isDirectory();
    if (!isFolder && !this.#names.has(path)) {
      this.#rename(path, { durable: Buffer.alloc(0), changes: [] });
    }
    const inode = isFolder ? undefined : this.#names.get(path);
    if ((flags & constants.O_TRUNC) !== 0) inode?.changes.push({ lengthBytes: 0 });
    this.#files.set(fd, { path, inode });
    return fd;
  }

  close(fd: number): void {
    // The kernel gives the descriptor back, whatever it says.
    const { path } = this.#fileOf(fd);
    this.#files.delete(fd);
    nodeDisk.close(fd);
    this.#step("close", path);
  }

  readSync(fd: number, buffer: Uint8Array, stretch: Stretch): number {
    const fault = this.#step("readSync", this.#fileOf(fd).path);
    return nodeDisk.readSync(fd, buffer, fault === "short" ? half(stretch) : stretch);
  }

  async read(fd: number, buffer: Uint8Array, stretch: Stretch): Promise<number> {
    const fault = this.#step("read", this.#fileOf(fd).path);
    return this.#run(nodeDisk.read(fd, buffer, fault === "short" ? half(stretch) : stretch));
  }

  writeSync(fd: number, bytes: Uint8Array, stretch: Stretch): number {
    const { path, inode } = this.#fileOf(fd);
    const fault = this.#step("writeSync", path);
    const part = this.#noteWrite(fault, inode, { bytes, stretch });
    const count = nodeDisk.writeSync(fd, bytes, part);
    failIfTorn(fault);
    return count;
  }

  async write(fd: number, bytes: Uint8Array, stretch: Stretch): Promise<number> {
    const { path, inode } = this.#fileOf(fd);
    const fault = this.#step("write", path);
    const part = this.#noteWrite(fault, inode, { bytes, stretch });
    // Whoever hears of the failure may close the descriptor: the half that happens has happened by then.
    const count = await this.#run(nodeDisk.write(fd, bytes, part));
    failIfTorn(fault);
    return count;
  }

  setLength(fd: number, lengthBytes: number): void {
    const { path, inode } = this.#fileOf(fd);
    this.#step("setLength", path);
    nodeDisk.setLength(fd, lengthBytes);
    inode?.changes.push({ lengthBytes });
  }

  async sync(fd: number): Promise<void> {
    const { path, inode } = this.#fileOf(fd);
    this.#step("sync", path);
    if (inode !== undefined) {
      inode.durable = contentsOf(inode.durable, inode.changes);
      inode.changes = [];
      return;
    }
    for (const name of this.#nameChanges.keys()) {
      if (dirname(name) !== path) continue;
      this.#nameChanges.delete(name);
      setOrDelete(this.#durableNames, name, this.#names.get(name));
    }
  }

  rename(from: string, to: string): void {
    this.#step("rename", to);
    nodeDisk.rename(from, to);
    this.#rename(to, this.#names.get(from));
    this.#rename(from, undefined);
  }

  async remove(path: string): Promise<void> {
    this.#step("remove", path);
    await this.#run(nodeDisk.remove(path));
    if (this.#names.has(path)) this.#rename(path, undefined);
  }

  makeFolder(path: string): void {
    this.#step("makeFolder", path);
    nodeDisk.makeFolder(path);
  }

  async list(path: string): Promise<readonly string[]> {
    this.#step("list", path);
    return this.#run(nodeDisk.list(path));
  }

  async look(path: string): Promise<FileLook | undefined> {
    this.#step("look", path);
    return this.#run(nodeDisk.look(path));
  }

  lookSync(path: string): FileLook | undefined {
    this.#step("lookSync", path);
    return this.#flipped.get(path) ?? nodeDisk.lookSync(path);
  }

  touch(path: string, modifiedAtMs: number): void {
    this.#step("touch", path);
    nodeDisk.touch(path, modifiedAtMs);
  }

  space(path: string): { readonly freeBytes: number; readonly sizeBytes: number } {
    this.#step("space", path);
    const { sizeBytes, freeBytes } = nodeDisk.space(path);
    return { sizeBytes, freeBytes: this.#freeBytes ?? freeBytes };
  }

  // ---------------------------------------------------------------------------------------------------- the end

  /** The process dies: every call fails from now on, and what was under way is waited for. */
  async die(): Promise<void> {
    this.#isDead = true;
    await Promise.allSettled(this.#running);
    for (const fd of this.#files.keys()) nodeDisk.close(fd);
    this.#files.clear();
  }

  /** Descriptors that nobody has closed. */
  get openPaths(): readonly string[] {
    return [...this.#files.values()].map(({ path }) => path);
  }

  /**
   * The machine loses its power after the process has died: of everything that was not synced, each name and each write is
   * forgotten, kept, or kept in part, as `random` (in [0, 1)) says.
   */
  losePower(random: () => number): void {
    const left = new Map<string, Buffer>();
    for (const path of new Set([...this.#durableNames.keys(), ...this.#nameChanges.keys()])) {
      const states = [this.#durableNames.get(path), ...(this.#nameChanges.get(path) ?? [])];
      const inode = states[Math.floor(random() * states.length)];
      if (inode === undefined) continue;
      const kept = inode.changes.flatMap((change) => keptOf(change, random));
      left.set(path, contentsOf(inode.durable, kept));
    }
    for (const path of filesBelow(this.#root)) rmSync(path);
    for (const [path, contents] of left) writeFileSync(path, contents, { mode: 0o600 });
  }

  // ------------------------------------------------------------------------------------------------------- inside

  #step(name: keyof Disk, path: string): DiskFault | undefined {
    if (this.#isDead) throw new Error("the process is dead");
    const step = { index: this.steps.length, name, path: path.slice(this.#root.length + 1) };
    this.steps.push(step);
    const fault = this.#faultAt(step);
    const isWrite = WRITES.has(name);
    if (fault === "torn crash" && isWrite) return fault;
    if (fault === "crash" || fault === "torn crash") {
      this.#isDead = true;
      throw new Error("the process is dead");
    }
    if (fault === "EIO" || (fault === "torn" && !isWrite)) throw failure("EIO", path);
    if (fault === "ENOSPC") throw failure(TAKES_SPACE.has(name) ? "ENOSPC" : "EIO", path);
    // A file that is written to, replaced or removed has its own look again.
    if (isWrite || name === "rename" || name === "remove") this.#flipped.delete(path);
    return fault;
  }

  /** @returns the part of a write that happens. */
  #noteWrite(
    fault: DiskFault | undefined,
    inode: Inode | undefined,
    { bytes, stretch }: { readonly bytes: Uint8Array; readonly stretch: Stretch },
  ): Stretch {
    const part = fault === undefined ? stretch : half(stretch);
    const written = Buffer.from(bytes.subarray(part.at, part.at + part.length));
    inode?.changes.push({ position: part.position, bytes: written });
    if (fault === "torn crash") this.#isDead = true;
    return part;
  }

  async #run<T>(running: Promise<T>): Promise<T> {
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  #rename(path: string, inode: Inode | undefined): void {
    setOrDelete(this.#names, path, inode);
    const changes = this.#nameChanges.get(path);
    if (changes === undefined) this.#nameChanges.set(path, [inode]);
    else changes.push(inode);
  }

  #fileOf(fd: number): OpenFile {
    if (this.#isDead) throw new Error("the process is dead");
    const file = this.#files.get(fd);
    if (file === undefined) throw new RangeError(`descriptor ${fd} is not open`);
    return file;
  }
}

const TAKES_SPACE: ReadonlySet<keyof Disk> = new Set([
  "open",
  "write",
  "writeSync",
  "setLength",
  "sync",
  "rename",
  "makeFolder",
]);

function failure(code: "EIO" | "ENOSPC", what: string): Error {
  const text = code === "EIO" ? "i/o error" : "no space left on device";
  return Object.assign(new Error(`${code}: ${text}, ${basename(what)}`), { code });
}

function failIfTorn(fault: DiskFault | undefined): void {
  if (fault === "torn crash") throw new Error("the process is dead");
  if (fault === "torn") throw failure("EIO", "a write");
}

function half({ at, length, position }: Stretch): Stretch {
  return { at, length: Math.max(1, Math.floor(length / 2)), position };
}

function keptOf(change: Change, random: () => number): Change[] {
  const choice = random();
  if (choice < 0.4) return [];
  if (choice < 0.8 || !("bytes" in change)) return [change];
  const sectors = Math.floor((random() * change.bytes.length) / SECTOR_BYTES);
  return [{ ...change, bytes: change.bytes.subarray(0, sectors * SECTOR_BYTES) }];
}

function contentsOf(durable: Buffer, changes: readonly Change[]): Buffer {
  let contents = durable;
  const resize = (lengthBytes: number): void => {
    const resized = Buffer.alloc(lengthBytes);
    contents.copy(resized);
    contents = resized;
  };
  for (const change of changes) {
    if ("lengthBytes" in change) resize(change.lengthBytes);
    else {
      const end = change.position + change.bytes.length;
      if (end > contents.length) resize(end);
      else if (contents === durable) contents = Buffer.from(durable);
      change.bytes.copy(contents, change.position);
    }
  }
  return contents;
}

function filesBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

function setOrDelete<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
