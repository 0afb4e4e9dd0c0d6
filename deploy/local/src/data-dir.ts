import { createHash } from "node:crypto";
import { existsSync, mkdirSync, realpathSync, rmdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { errorCode, readJson, writePrivateJson } from "./files.ts";
import { LocalError } from "./local-error.ts";
import { processStart } from "./process-table.ts";

const ownerSchema = z.object({
  /** The checkout whose cluster lives here. */
  checkout: z.string(),
  /** The process that runs the cluster; `null` after an orderly stop. */
  supervisorPid: z.number().int().nullable(),
  /** Tells that process from a later one with the same pid. */
  supervisorStart: z.string().nullable(),
});

/** `owner.json`: which checkout a data dir belongs to, and who runs it. */
export type Owner = z.infer<typeof ownerSchema>;

type Environment = Readonly<Record<string, string | undefined>>;

/** The repository this file belongs to. */
export function checkoutRoot(): string {
  return realpathSync(fileURLToPath(new URL("../../..", import.meta.url)));
}

/** Where clusters keep their data unless told otherwise. */
export function dataHome(env: Environment): string {
  return join(env["XDG_DATA_HOME"] || join(env["HOME"] || homedir(), ".local/share"), "lacewing");
}

/** What {@link resolveDataDir} asks. */
export interface DataDirQuestion {
  /** `--data`; wins over everything. */
  readonly explicit: string | undefined;
  readonly home: string;
  readonly checkout: string;
  readonly ownerOf: (dataDir: string) => Owner | undefined;
}

/** Where a checkout's cluster lives. */
export interface DataDirChoice {
  readonly dataDir: string;
  /** Set when the usual place belongs to another checkout: that checkout's path. */
  readonly displacedBy?: string;
}

/**
 * Chooses the data dir of a checkout: `--data`, else `local`, else, when `local` belongs to another checkout,
 * `local-<hash of this checkout>`. A checkout that was once displaced keeps its own dir after the other one is gone,
 * so that every command finds the same cluster.
 */
export function resolveDataDir(question: DataDirQuestion): DataDirChoice {
  if (question.explicit !== undefined) return { dataDir: resolve(question.explicit) };
  const usual = join(question.home, "local");
  const own = join(question.home, `local-${shortHash(question.checkout)}`);
  if (question.ownerOf(own)?.checkout === question.checkout) return { dataDir: own };
  const owner = question.ownerOf(usual);
  return owner === undefined || owner.checkout === question.checkout
    ? { dataDir: usual }
    : { dataDir: own, displacedBy: owner.checkout };
}

/** The path without symbolic links, so that one directory has one name; as it is when it does not exist. */
export function canonicalPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : resolve(path);
}

/** First 8 hex digits of the SHA-256: short enough for a path, long enough to tell one user's checkouts apart. */
export function shortHash(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 8);
}

/** @throws {DamagedFile} when `owner.json` is damaged. */
export function readOwner(dataDir: string): Owner | undefined {
  return readJson(ownerPath(dataDir), ownerSchema);
}

/** The pid of the process that runs the cluster in `dataDir` at this moment. */
export function runningSupervisor(dataDir: string): number | undefined {
  const owner = readOwner(dataDir);
  if (owner === undefined || owner.supervisorPid === null) return undefined;
  return processStart(owner.supervisorPid) === owner.supervisorStart
    ? owner.supervisorPid
    : undefined;
}

/** The right to run a cluster in a data dir. */
export interface Claim {
  /** Gives it up; the data stays this checkout's. */
  release(): void;
}

/**
 * Takes the data dir for this process, and makes it when it does not exist.
 *
 * @throws {LocalError} when another process runs a cluster there.
 */
export async function claimDataDir(dataDir: string, checkout: string): Promise<Claim> {
  try {
    // Traversable but not listable by others: as root, Postgres runs as another user below it. Secrets are 0600.
    mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  } catch (error) {
    throw new LocalError(
      `cannot make the data directory ${dataDir}: ${errorCode(error) ?? "unknown error"}`,
      "Choose another one with --data DIR.",
      { cause: error },
    );
  }
  const lock = await takeLock(dataDir);
  const running = runningSupervisor(dataDir);
  if (lock === "taken" || (running !== undefined && running !== process.pid)) {
    throw new LocalError(
      `another process is running the cluster in ${dataDir}`,
      "Stop it with `lacewing down`, or choose another directory with --data DIR.",
    );
  }
  const writeOwner = (supervisorPid: number | null) => {
    const supervisorStart = supervisorPid === null ? null : (processStart(supervisorPid) ?? null);
    writePrivateJson(ownerPath(dataDir), {
      checkout,
      supervisorPid,
      supervisorStart,
    } satisfies Owner);
  };
  writeOwner(process.pid);
  return {
    release: () => {
      writeOwner(null);
      lock?.close();
    },
  };
}

/** Forgets the claim together with the data. Only for a cluster that has stopped. */
export function removeDataDir(dataDir: string): void {
  rmSync(dataDir, { recursive: true, force: true, maxRetries: 3 });
}

function ownerPath(dataDir: string): string {
  return join(dataDir, "owner.json");
}

/**
 * A lock that the kernel drops with the process: an abstract unix socket named after the directory. Two starts at the
 * same instant cannot both get it, and `kill -9` leaves nothing stale. Only Linux has these names; elsewhere
 * `owner.json` alone decides.
 */
export async function takeLock(dataDir: string): Promise<Server | "taken" | undefined> {
  if (process.platform !== "linux") return undefined;
  const name = createHash("sha256").update(realpathSync(dataDir)).digest("hex").slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  return new Promise((settle, reject) => {
    server.once("error", (error) => {
      if (errorCode(error) === "EADDRINUSE") settle("taken");
      else reject(error);
    });
    server.listen(`\0lacewing-local-${name}`, () => {
      server.unref();
      settle(server);
    });
  });
}

/** Removes a directory that holds nothing; leaves any other as it is. */
export function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Not empty, or not there.
  }
}
