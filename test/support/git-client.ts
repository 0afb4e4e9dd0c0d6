import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LfsRepo } from "./git-lfs-repo.ts";
import type { LfsOrigin } from "./lfs-origin.ts";
import { lfsUrlOf } from "./lfs-paths.ts";
import { runProcess, type ProcessResult } from "./processes.ts";

/** How a Git LFS client reaches the origin. */
export type Route =
  | { readonly kind: "direct" }
  /** Storage and batch URLs are rewritten to `<proxy>/url/<URL>`: the recommended way, no proxy setting at all. */
  | { readonly kind: "url_prefix"; readonly proxyUrl: string }
  /** `http.proxy` and `insteadOf` from https to http, as in the seed document; the origin is then called `lfs.localhost`. */
  | { readonly kind: "http_proxy"; readonly proxyUrl: string };

export interface LfsRequest {
  readonly repo: LfsRepo;
  readonly origin: Pick<LfsOrigin, "url" | "port">;
  /** The working tree; must not exist before a clone. */
  readonly into: string;
  readonly route: Route;
  /** A folder for the client's own settings; made if missing. Nothing of the real user's is read. */
  readonly home: string;
  /** More git settings, in order, e.g. `["lfs.concurrenttransfers", "1"]`. */
  readonly gitConfig?: readonly (readonly [name: string, value: string])[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A gigabyte at a few MB/s is the slowest that is run. */
const CLIENT_TIMEOUT_MS = 15 * 60_000;

/** `git clone` with the LFS filter at work: the working tree has the real files when it succeeds. */
export async function cloneWithLfs(request: LfsRequest): Promise<ProcessResult> {
  return runGit(request, ["clone", "--quiet", request.repo.path, request.into], {});
}

/** `git clone` that leaves pointers in the working tree and downloads nothing. */
export async function cloneWithoutLfs(request: LfsRequest): Promise<ProcessResult> {
  const args = ["clone", "--quiet", request.repo.path, request.into];
  return runGit(request, args, { GIT_LFS_SKIP_SMUDGE: "1" });
}

/** `git lfs pull` in a clone: downloads every object of the checked-out commit and writes the files. */
export async function pullLfs(request: LfsRequest): Promise<ProcessResult> {
  return runGit(request, ["-C", request.into, "lfs", "pull"], {});
}

/** Settings that a user would make by `git config --global` for a route. */
export function gitConfigOf(
  request: Pick<LfsRequest, "repo" | "origin" | "route">,
): readonly (readonly [string, string])[] {
  const { repo, origin, route } = request;
  switch (route.kind) {
    case "direct":
      return [["lfs.url", lfsUrlOf(origin, repo.name)]];
    case "url_prefix":
      return [
        ["lfs.url", lfsUrlOf(origin, repo.name)],
        ["lfs.transfer.enablehrefrewrite", "true"],
        [`url.${route.proxyUrl}/url/${origin.url}/.insteadOf`, `${origin.url}/`],
      ];
    case "http_proxy":
      return [
        ["lfs.url", lfsUrlOf(origin, repo.name, "lfs.localhost")],
        ["http.proxy", route.proxyUrl],
        ["lfs.transfer.enablehrefrewrite", "true"],
        [
          `url.http://lfs.localhost:${origin.port}/.insteadOf`,
          `https://lfs.localhost:${origin.port}/`,
        ],
      ];
  }
}

/**
 * The whole environment of a git process: nothing of the machine's proxy, CA or git settings reaches it, and it never
 * asks anybody anything.
 */
export function gitEnvironment(options: {
  readonly home: string;
  readonly env?: Readonly<Record<string, string>> | undefined;
}): NodeJS.ProcessEnv {
  return {
    PATH: process.env["PATH"],
    HOME: options.home,
    XDG_CONFIG_HOME: join(options.home, ".config"),
    GIT_CONFIG_GLOBAL: globalConfigOf(options.home),
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_ASKPASS: "true",
    LC_ALL: "C",
    ...options.env,
  };
}

async function runGit(
  request: LfsRequest,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ProcessResult> {
  await writeGlobalConfig(request.home);
  const settings = [...gitConfigOf(request), ...(request.gitConfig ?? [])];
  return runProcess({
    command: "git",
    args: [...settings.flatMap(([name, value]) => ["-c", `${name}=${value}`]), ...args],
    env: gitEnvironment({ home: request.home, env: { ...env, ...request.env } }),
    timeoutMs: request.timeoutMs ?? CLIENT_TIMEOUT_MS,
    signal: request.signal,
  });
}

/** What `git lfs install` writes. */
async function writeGlobalConfig(home: string): Promise<void> {
  await mkdir(home, { recursive: true });
  const lines = [
    '[filter "lfs"]',
    "\tclean = git-lfs clean -- %f",
    "\tsmudge = git-lfs smudge -- %f",
    "\tprocess = git-lfs filter-process",
    "\trequired = true",
    "[safe]",
    "\tdirectory = *",
    "",
  ];
  await writeFile(globalConfigOf(home), lines.join("\n"));
}

function globalConfigOf(home: string): string {
  return join(home, "gitconfig");
}
