import { execFile } from "node:child_process";
import { createHash, timingSafeEqual } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { LocalError } from "./local-error.ts";
import {
  compareVersions,
  NATS_VERSION_MIN,
  natsArchive,
  parseNatsVersion,
} from "./nats-release.ts";

const run = promisify(execFile);

type Environment = Readonly<Record<string, string | undefined>>;

/** A nats-server that can be started. */
export interface NatsBinary {
  readonly path: string;
  readonly version: string;
}

/** What finding a server needs to know and whom to tell. */
export interface NatsSearch {
  readonly env: Environment;
  readonly onNote: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Where packages put it that are not on an ordinary user's PATH. */
const USUAL_DIRECTORIES = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];
/** Without a way to the internet the next source must get its turn quickly. */
const CONNECT_TIMEOUT_MS = 5_000;
/** 6 MB over a slow line. */
const DOWNLOAD_TIMEOUT_MS = 180_000;
/** The archives have about 6 MB; more is not what we asked for. */
const ARCHIVE_BYTES_MAX = 64 * 2 ** 20;
const COMMAND_TIMEOUT_MS = 10_000;
/** `apt-get update` fetches some 20 MB of lists. */
const APT_TIMEOUT_MS = 180_000;

/** Where fetched servers are kept for all clusters of a user. */
export function cacheHome(env: Environment): string {
  return join(env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache"), "lacewing");
}

/**
 * Finds a nats-server, or fetches one: named by `LACEWING_NATS_SERVER`, installed, fetched earlier, the official release
 * archive, the Debian package unpacked without root.
 *
 * @throws {LocalError} that names every attempt and what to do.
 */
export async function findNatsServer(search: NatsSearch): Promise<NatsBinary> {
  const { env, signal } = search;
  const named = env["LACEWING_NATS_SERVER"];
  if (named) {
    const found = await firstUsable([named], []);
    if (found !== undefined) return found;
    throw new LocalError(
      `LACEWING_NATS_SERVER=${named} is not a nats-server of version ${NATS_VERSION_MIN} or newer`,
      "Correct it, or unset it to have one found or fetched.",
    );
  }
  const attempts: string[] = [];
  const cache = cacheHome(env);
  const found =
    (await firstUsable(installed(env), attempts)) ?? (await firstUsable(cached(cache), attempts));
  if (found !== undefined) return found;
  if (attempts.length === 0) attempts.push("installed or fetched earlier: none");
  for (const fetchServer of [fetchRelease, fetchDebianPackage]) {
    signal.throwIfAborted();
    try {
      const binary = await firstUsable([await fetchServer(cache, search)], attempts);
      if (binary !== undefined) return binary;
    } catch (error) {
      signal.throwIfAborted();
      attempts.push(messageOf(error));
    }
  }
  throw new LocalError(
    `no nats-server ${NATS_VERSION_MIN} or newer could be found or fetched:\n${attempts.map((text) => `  - ${text}`).join("\n")}`,
    "Install it (`apt-get install nats-server`, `brew install nats-server`), or set LACEWING_NATS_SERVER to its path, " +
      "or LACEWING_NATS_URL to a running server with JetStream.",
  );
}

/** The version a program reports, `undefined` when it is no nats-server that runs here. */
async function versionOf(path: string): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await run(path, ["--version"], { timeout: COMMAND_TIMEOUT_MS });
    return parseNatsVersion(stdout + stderr);
  } catch {
    return undefined;
  }
}

async function firstUsable(
  paths: readonly string[],
  attempts: string[],
): Promise<NatsBinary | undefined> {
  for (const path of paths) {
    const version = await versionOf(path);
    if (version !== undefined && compareVersions(version, NATS_VERSION_MIN) >= 0) {
      return { path, version };
    }
    attempts.push(`${path}: ${version === undefined ? "does not run" : `version ${version}`}`);
  }
  return undefined;
}

function installed(env: Environment): readonly string[] {
  const directories = [...(env["PATH"] ?? "").split(delimiter), ...USUAL_DIRECTORIES];
  return [...new Set(directories.filter((directory) => directory !== ""))]
    .map((directory) => join(directory, "nats-server"))
    .filter((path) => existsSync(path));
}

function cached(cache: string): readonly string[] {
  if (!existsSync(cache)) return [];
  return readdirSync(cache)
    .filter((name) => name.startsWith("nats-server-"))
    .map((name) => join(cache, name, "nats-server"))
    .filter((path) => existsSync(path));
}

async function fetchRelease(cache: string, search: NatsSearch): Promise<string> {
  const archive = natsArchive(process.platform, process.arch);
  if (archive === undefined) {
    throw new Error(
      `release archive: none with a known digest for ${process.platform} ${process.arch}`,
    );
  }
  search.onNote(`no nats-server found: fetching ${archive.url}`);
  return inTemporaryDirectory(async (directory) => {
    const file = join(directory, "archive.tar.gz");
    try {
      const content = await download(archive.url, search.signal);
      const digest = createHash("sha256").update(content).digest();
      if (!timingSafeEqual(digest, Buffer.from(archive.sha256, "hex"))) {
        throw new Error(`SHA-256 is ${digest.toString("hex")}, expected ${archive.sha256}`);
      }
      await writeFile(file, content);
      const member = `${archive.folder}/nats-server`;
      await run("tar", ["-xzf", file, "-C", directory, member], { timeout: COMMAND_TIMEOUT_MS });
    } catch (error) {
      throw new Error(`release archive ${archive.url}: ${reasonOf(error)}`, { cause: error });
    }
    return keep(join(directory, archive.folder, "nats-server"), join(cache, archive.folder));
  });
}

async function download(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const connecting = new AbortController();
  const timer = setTimeout(
    () => connecting.abort(new Error(`no answer within ${CONNECT_TIMEOUT_MS} ms`)),
    CONNECT_TIMEOUT_MS,
  );
  const total = AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([signal, connecting.signal, total]),
    });
    clearTimeout(timer);
    if (!response.ok || response.body === null) throw new Error(`answered ${response.status}`);
    const body: ReadableStream<Uint8Array> = response.body;
    const parts: Uint8Array[] = [];
    let lengthBytes = 0;
    for await (const part of body) {
      lengthBytes += part.byteLength;
      if (lengthBytes > ARCHIVE_BYTES_MAX) {
        throw new Error(`is larger than ${ARCHIVE_BYTES_MAX} bytes`);
      }
      parts.push(part);
    }
    return Buffer.concat(parts);
  } finally {
    clearTimeout(timer);
  }
}

/** Needs neither root nor any change of the system: lists and archives of its own, the system's own sources and keys. */
async function fetchDebianPackage(cache: string, search: NatsSearch): Promise<string> {
  search.onNote(
    "no release archive: trying the Debian package nats-server, unpacked without installing it",
  );
  return inTemporaryDirectory(async (directory) => {
    const options = { cwd: directory, timeout: APT_TIMEOUT_MS, signal: search.signal };
    const privateState = [
      ["Dir::State::lists", join(directory, "lists")],
      ["Dir::Cache", directory],
      ["Dir::Cache::archives", join(directory, "archives")],
      ["APT::Sandbox::User", "root"],
    ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    try {
      try {
        await run("apt-get", ["download", "-q", "nats-server"], options);
      } catch {
        mkdirSync(join(directory, "lists/partial"), { recursive: true });
        mkdirSync(join(directory, "archives/partial"), { recursive: true });
        await run("apt-get", [...privateState, "-q", "update"], options);
        await run("apt-get", [...privateState, "download", "-q", "nats-server"], options);
      }
      const archive = readdirSync(directory).find((name) => name.endsWith(".deb"));
      if (archive === undefined) throw new Error("apt-get left no package file");
      await run("dpkg-deb", ["-x", archive, "unpacked"], options);
    } catch (error) {
      throw new Error(`Debian package: ${reasonOf(error)}`, { cause: error });
    }
    return keep(
      join(directory, "unpacked/usr/sbin/nats-server"),
      join(cache, "nats-server-debian"),
    );
  });
}

/** Copies a fetched server to its place in the cache, whole or not at all. */
function keep(binary: string, directory: string): string {
  const temporary = `${directory}.${process.pid}`;
  mkdirSync(temporary, { recursive: true });
  cpSync(binary, join(temporary, "nats-server"));
  rmSync(directory, { recursive: true, force: true });
  renameSync(temporary, directory);
  return join(directory, "nats-server");
}

async function inTemporaryDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "lacewing-nats-"));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The most telling line of a failed fetch or command. */
function reasonOf(error: unknown): string {
  if (error instanceof Error && "stderr" in error && typeof error.stderr === "string") {
    const line = error.stderr.trim().split("\n").at(-1);
    if (line !== undefined && line !== "") return line;
  }
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? messageOf(error) : `${messageOf(error)} (${messageOf(cause)})`;
}
