import { chmod, link, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";
import { errorCode, STORE_DIR_MODE, STORE_FILE_MODE } from "../disk/node-disk.ts";

/** A data directory that is this process's own until it is released. */
export interface HeldDataDir {
  readonly contentPath: string;
  readonly countersPath: string;
  readonly pinnedPath: string;
  release(): Promise<void>;
}

/** Two processes that find the same stale lock may each remove it; whoever loses tries again. */
const LOCK_ATTEMPT_COUNT_MAX = 3;

/**
 * Makes the data directory where it is missing and takes its lock.
 *
 * @throws {SettingsError} when it cannot be used: not to be made, somebody else's, or another live process's.
 */
export async function holdDataDir(dataDir: string): Promise<HeldDataDir> {
  const contentPath = join(dataDir, "content");
  const lockPath = join(dataDir, "store.lock");
  try {
    await mkdir(contentPath, { recursive: true, mode: STORE_DIR_MODE });
    await refuseForeignOwner(dataDir);
    await refuseForeignOwner(contentPath);
    await chmod(contentPath, STORE_DIR_MODE);
    const identity = await processIdentity(process.pid);
    await takeLock(dataDir, lockPath, identity ?? `${process.pid} unknown`);
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    throw new SettingsError(`cannot use data directory ${dataDir}: ${messageOf(error)}`);
  }
  return {
    contentPath,
    countersPath: join(dataDir, "incarnations"),
    pinnedPath: join(dataDir, "pinned"),
    release: async () => rm(lockPath, { force: true }),
  };
}

async function refuseForeignOwner(path: string): Promise<void> {
  const own = process.getuid?.();
  const { uid } = await stat(path);
  if (own === undefined || uid === own) return;
  throw new SettingsError(
    `${path} belongs to user ${uid}, this process runs as user ${own}: choose another data directory, or give it to that user`,
  );
}

/** The lock is made whole under another name and linked: nobody ever reads half of it. */
async function takeLock(dataDir: string, lockPath: string, identity: string): Promise<void> {
  const temporary = `${lockPath}.${process.pid}`;
  await writeFile(temporary, identity, { mode: STORE_FILE_MODE });
  try {
    for (let attempt = 0; attempt < LOCK_ATTEMPT_COUNT_MAX; attempt++) {
      if (await tryLink(temporary, lockPath)) return;
      const holder = await readHolder(lockPath);
      if (holder === undefined) continue;
      if (await isAlive(holder)) {
        throw new SettingsError(
          `data directory ${dataDir} is in use by process ${holder.split(" ")[0]}: stop that one, or choose another directory`,
        );
      }
      await rm(lockPath, { force: true });
    }
    throw new SettingsError(`data directory ${dataDir}: its lock is being fought over`);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) === "EEXIST") return false;
    throw error;
  }
}

/** Who holds the lock; `undefined` when it was released meanwhile. */
async function readHolder(lockPath: string): Promise<string | undefined> {
  try {
    return await readFile(lockPath, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function isAlive(holder: string): Promise<boolean> {
  const [pidText = "", startedAt] = holder.split(" ");
  if (!/^\d{1,10}$/.test(pidText) || pidText === "0") return false;
  const current = await processIdentity(Number(pidText));
  if (current === undefined) return false;
  // A number is given to another process after a while: the time of its start tells them apart.
  return startedAt === "unknown" || current.endsWith(" unknown") || current === holder;
}

/** `<pid> <start time in clock ticks since boot>-<boot id>`; `undefined` when no such process lives. */
async function processIdentity(pid: number): Promise<string | undefined> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) === "ESRCH") return undefined;
  }
  try {
    const [statLine, bootId] = await Promise.all([
      readFile(`/proc/${pid}/stat`, "utf8"),
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
    ]);
    // proc(5): field 22, counted after the command name, which may itself hold spaces and brackets.
    const fields = statLine.slice(statLine.lastIndexOf(")") + 2).split(" ");
    const [state, startTicks] = [fields[0], fields[19]];
    // A zombie holds nothing any more; only its exit code waits to be read.
    if (state === "Z") return undefined;
    return `${pid} ${startTicks}-${bootId.trim()}`;
  } catch {
    return `${pid} unknown`;
  }
}
