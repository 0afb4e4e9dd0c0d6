import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { ifIntact, readJson, writePrivateJson } from "./files.ts";
import { shortHash } from "./data-dir.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";

/** The user that PostgreSQL runs as; it refuses to run as root. */
export interface RunAs {
  readonly uid: number;
  readonly gid: number;
}

/** Where the embedded PostgreSQL lives and who runs it. */
export interface PostgresHome {
  /** Holds `data`, and `native` when the binaries had to be copied. */
  readonly directory: string;
  readonly binDirectory: string;
  /** `undefined`: as ourselves. */
  readonly runAs: RunAs | undefined;
}

/** `nobody`: exists everywhere, so that no user needs to be created. */
const NOBODY: RunAs = { uid: 65_534, gid: 65_534 };
/** Homes outside the data dir, for root only, whose own home others may not enter. */
const SYSTEM_HOME = "/var/lib/lacewing";

const homeRecord = z.object({ directory: z.string() });

/**
 * Prepares the place where PostgreSQL keeps its data: inside the data dir; when we are root, whose directories the user
 * `nobody` often may not enter, outside in `/var/lib/lacewing/<hash of the data dir>`. The choice is recorded, so that
 * later starts use the same data and `down --purge` finds it. Binaries that `nobody` cannot reach are copied there.
 */
export function preparePostgresHome(dataDir: string, binaries: PostgresBinaries): PostgresHome {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) {
    const directory = join(dataDir, "postgres");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return { directory, binDirectory: binaries.binDirectory, runAs: undefined };
  }
  const directory = recordedHome(dataDir) ?? chooseHome(dataDir);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writePrivateJson(recordPath(dataDir), { directory });
  const runAs = ownerOf(join(directory, "data")) ?? NOBODY;
  chownSync(directory, runAs.uid, runAs.gid);
  const mayRun = isReachable(join(binaries.binDirectory, "postgres"), runAs);
  const binDirectory =
    mayRun || binaries.copyRoot === undefined
      ? binaries.binDirectory
      : join(copyBinaries(binaries.copyRoot, directory, runAs), "bin");
  return { directory, binDirectory, runAs };
}

/** Removes what {@link preparePostgresHome} made outside the data dir. */
export function removePostgresHome(dataDir: string): void {
  // Without the record it is where it would have been made.
  const directory = isRecordDamaged(dataDir)
    ? join(SYSTEM_HOME, shortHash(dataDir))
    : recordedHome(dataDir);
  if (directory === undefined || !directory.startsWith(`${SYSTEM_HOME}/`)) return;
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  if (existsSync(SYSTEM_HOME) && readdirSync(SYSTEM_HOME).length === 0) {
    rmSync(SYSTEM_HOME, { recursive: true });
  }
}

/** The place outside the data dir, if there is one: a command line that names it is ours. */
export function recordedHome(dataDir: string): string | undefined {
  return readJson(recordPath(dataDir), homeRecord)?.directory;
}

function isRecordDamaged(dataDir: string): boolean {
  return existsSync(recordPath(dataDir)) && ifIntact(() => recordedHome(dataDir)) === undefined;
}

/**
 * Whether a user may read `path` and enter every directory above it. Looks at permission bits only: an access list that
 * forbids more shows later as an error of the server.
 */
export function isReachable(
  path: string,
  user: RunAs,
  statOf: (path: string) => { mode: number; uid: number; gid: number } = statSync,
): boolean {
  if (!grants(statOf(path), user, 0o4)) return false;
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if (!grants(statOf(directory), user, 0o1)) return false;
    if (directory === dirname(directory)) return true;
  }
}

function grants(
  stat: { mode: number; uid: number; gid: number },
  user: RunAs,
  permission: number,
): boolean {
  const shift = stat.uid === user.uid ? 6 : stat.gid === user.gid ? 3 : 0;
  return ((stat.mode >> shift) & permission) === permission;
}

function chooseHome(dataDir: string): string {
  return isEnterable(dataDir, NOBODY)
    ? join(dataDir, "postgres")
    : join(SYSTEM_HOME, shortHash(dataDir));
}

function isEnterable(directory: string, user: RunAs): boolean {
  // Reading the directory itself is not needed, entering it and everything above is.
  return isReachable(join(directory, "any"), user, (path) =>
    path === join(directory, "any") ? { mode: 0o444, uid: 0, gid: 0 } : statSync(path),
  );
}

function ownerOf(path: string): RunAs | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined || stat.uid === 0 ? undefined : { uid: stat.uid, gid: stat.gid };
}

/** Copies the installation unless this very version is there already. Some 60 MB. */
function copyBinaries(copyRoot: string, directory: string, owner: RunAs): string {
  const target = join(directory, "native");
  const stamp = join(target, ".copied-from");
  const packageFile = join(copyRoot, "../package.json");
  const identity = existsSync(packageFile) ? readFileSync(packageFile, "utf8") : copyRoot;
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === identity) return target;
  const temporary = `${target}.new`;
  rmSync(temporary, { recursive: true, force: true });
  cpSync(copyRoot, temporary, { recursive: true, verbatimSymlinks: true });
  giveTo(temporary, owner);
  writeFileSync(join(temporary, ".copied-from"), identity);
  rmSync(target, { recursive: true, force: true });
  renameSync(temporary, target);
  return target;
}

function giveTo(directory: string, owner: RunAs): void {
  chownSync(directory, owner.uid, owner.gid);
  chmodSync(directory, 0o755);
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) giveTo(path, owner);
    else lchownSync(path, owner.uid, owner.gid);
  }
}

function recordPath(dataDir: string): string {
  return join(dataDir, "postgres-home.json");
}
