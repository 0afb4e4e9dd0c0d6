/** What a file looks like from outside. */
export interface FileLook {
  readonly inode: bigint;
  readonly sizeBytes: number;
  readonly modifiedAtNs: bigint;
  /** When contents or attributes changed last; unlike the modification time nobody can set it. */
  readonly changedAtNs: bigint;
}

/**
 * What the store and the fact journal ask of the disk. Every step that may fail, be torn by a crash or be forgotten by a power
 * loss goes through here, so that tests can make it do so. Failures are the system's own errors; whoever asked
 * translates them.
 *
 * What ends in `Sync` and everything about names blocks: on a local disk these take microseconds.
 */
export interface Disk {
  /**
   * Opens a file, or a folder when `flags` are `O_RDONLY`; never follows a link that somebody may have put there. A new file
   * is its owner's alone.
   */
  open(path: string, flags: number): number;
  close(fd: number): void;
  /** @returns bytes read into `buffer` from its byte `at`; 0 at the end of the file. */
  readSync(fd: number, buffer: Uint8Array, stretch: Stretch): number;
  read(fd: number, buffer: Uint8Array, stretch: Stretch): Promise<number>;
  /** @returns bytes written, which may be fewer than asked. */
  writeSync(fd: number, bytes: Uint8Array, stretch: Stretch): number;
  write(fd: number, bytes: Uint8Array, stretch: Stretch): Promise<number>;
  /** Cuts a file off, or makes it longer without taking blocks. */
  setLength(fd: number, lengthBytes: number): void;
  /** What was written to the file, or which names a folder has, outlives a power loss from now on. */
  sync(fd: number): Promise<void>;
  /** Replaces `to` in one step. */
  rename(from: string, to: string): void;
  /** Removes a file; one that is not there is removed already. */
  remove(path: string): Promise<void>;
  /** Makes a folder and those above it; one that is there stays. */
  makeFolder(path: string): void;
  list(path: string): Promise<readonly string[]>;
  /** `undefined`: there is no such file. */
  look(path: string): Promise<FileLook | undefined>;
  lookSync(path: string): FileLook | undefined;
  /** Sets the modification time. */
  touch(path: string, modifiedAtMs: number): void;
  /** Of the file system that `path` lies on. */
  space(path: string): { readonly freeBytes: number; readonly sizeBytes: number };
}

/** `length` bytes from `at` of a buffer that belong at `position` of the file. */
export interface Stretch {
  readonly at: number;
  readonly length: number;
  readonly position: number;
}
