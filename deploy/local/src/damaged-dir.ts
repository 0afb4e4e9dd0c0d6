import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { canonicalPath, readOwner, takeLock } from "./data-dir.ts";
import { ifIntact } from "./files.ts";
import { leftoversOf, removeAllOf } from "./leftovers.ts";
import { LocalError } from "./local-error.ts";

/** Directories that every start makes before anything else. */
const DIRECTORIES_ALWAYS = ["logs", "peers", "run"] as const;
/** Everything else that a cluster has at the top of its data dir. */
const ENTRIES_KNOWN: ReadonlySet<string> = new Set([
  ...DIRECTORIES_ALWAYS,
  "cluster-secret",
  "cluster.json",
  "nats",
  "options.json",
  "owner.json",
  "ports.json",
  "postgres",
  "postgres-home.json",
  "secrets.json",
  "socket-dir.json",
]);
/** What a writer of ours leaves that is killed before it renames its file. */
const HALF_WRITTEN = /^(.+)\.\d+\.[0-9a-f]{8}$/;
const BY_HAND = "Nothing was removed. If it is a cluster's and none is running, remove it by hand.";

/** Whether `owner.json` is there and does not say whose cluster this is. */
export function isOwnerDamaged(dataDir: string): boolean {
  return isKind(dataDir, "owner.json", "file") && ifIntact(() => readOwner(dataDir)) === undefined;
}

/**
 * Removes a cluster whose `owner.json` is damaged. It can no longer say who runs it, so the directory must hold what a
 * cluster's holds and nothing else, and no process may hold its lock or carry its mark.
 *
 * @throws {LocalError} when it may be somebody's files, or running; nothing is removed then.
 */
export async function purgeDamaged(givenDataDir: string): Promise<void> {
  const dataDir = canonicalPath(givenDataDir);
  mustBeClusters(dataDir);
  const lock = await takeLock(dataDir);
  // Without the lock, which only Linux has, nothing tells whether a supervisor is there.
  if (lock === undefined) {
    throw new LocalError(`cannot tell whether the cluster in ${dataDir} is running`, BY_HAND);
  }
  if (lock === "taken") {
    throw new LocalError(
      `a process is running the cluster in ${dataDir}`,
      "Nothing was removed. Stop `lacewing up` with Ctrl-C where it runs, then try again.",
    );
  }
  try {
    const left = leftoversOf(dataDir);
    if (left.length > 0) {
      throw new LocalError(
        `process ${left.join(", ")} of the cluster in ${dataDir} is still running`,
        "Nothing was removed. End it, then try again.",
      );
    }
    removeAllOf(dataDir);
  } finally {
    lock.close();
  }
}

function mustBeClusters(dataDir: string): void {
  const missing = DIRECTORIES_ALWAYS.filter((name) => !isKind(dataDir, name, "directory"));
  if (missing.length > 0) {
    throw new LocalError(
      `${dataDir} does not look like a cluster's: it has no ${missing.join(", ")}`,
      BY_HAND,
    );
  }
  const unknown = readdirSync(dataDir).filter(
    (name) => !ENTRIES_KNOWN.has(HALF_WRITTEN.exec(name)?.[1] ?? name),
  );
  if (unknown.length > 0) {
    throw new LocalError(
      `${dataDir} holds what no cluster has: ${unknown.slice(0, 3).join(", ")}`,
      BY_HAND,
    );
  }
}

function isKind(dataDir: string, name: string, kind: "file" | "directory"): boolean {
  const stat = lstatSync(join(dataDir, name), { throwIfNoEntry: false });
  return kind === "file" ? stat?.isFile() === true : stat?.isDirectory() === true;
}
