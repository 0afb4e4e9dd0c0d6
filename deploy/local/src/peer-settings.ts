import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { EXIT_CODE } from "@lacewing/runtime/lifecycle.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { LocalError } from "./local-error.ts";

/** Reading one file takes the time of starting Node. */
const CHECK_TIMEOUT_MS = 30_000;

/**
 * Has the peer read its settings file before anything else is started: what is wrong in it is told at once, and nothing is
 * left behind.
 *
 * @throws {LocalError} with the peer's own words.
 */
export async function checkPeerSettings(
  peerEntry: string,
  configFile: string,
  env: Readonly<Record<string, string>>,
): Promise<void> {
  try {
    await promisify(execFile)(process.execPath, [peerEntry, "--check-settings"], {
      env: { ...env, LACEWING_CONFIG: configFile },
      timeout: CHECK_TIMEOUT_MS,
    });
  } catch (error) {
    const { code, stderr } = outcomeOf(error);
    if (code !== EXIT_CODE.wrongSettings) {
      throw new LocalError(`cannot check ${configFile}: ${stderr || messageOf(error)}`);
    }
    throw new LocalError(
      stderr.trimEnd(),
      "Correct the file and start again; nothing was started.",
    );
  }
}

function outcomeOf(error: unknown): { readonly code: unknown; readonly stderr: string } {
  if (!(error instanceof Error)) return { code: undefined, stderr: "" };
  const stderr = "stderr" in error && typeof error.stderr === "string" ? error.stderr : "";
  return { code: "code" in error ? error.code : undefined, stderr };
}
