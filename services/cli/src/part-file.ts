import { existsSync, rmSync, statSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { errorCode } from "@lacewing/local/files.ts";
import { CliError } from "./cli-error.ts";

/** Where content goes. */
export interface ContentSink {
  write(bytes: Uint8Array): Promise<void>;
  /** All has come: makes it what the user asked for. */
  finish(): Promise<void>;
  /** It broke off: leaves nothing behind. */
  discard(): Promise<void>;
}

/**
 * A file that appears under its name only when it is whole: until then it is `<path>.part`.
 *
 * @throws {CliError} when the file, or the part of another download, is there and `force` is not set.
 */
export async function createPartFile(
  path: string,
  options: { readonly force: boolean },
): Promise<ContentSink> {
  refuseExisting(path, options.force);
  const part = `${path}.part`;
  const file = await open(part, options.force ? "w" : "wx").catch((error: unknown) => {
    throw errorCode(error) === "EEXIST"
      ? new CliError(
          `${part} exists: another download is writing it, or one was killed`,
          "Remove it, or pass --force to begin anew.",
          { cause: error },
        )
      : cannotWrite(part, error);
  });
  return {
    write: async (bytes) => {
      try {
        await file.writeFile(bytes);
      } catch (error) {
        throw cannotWrite(part, error);
      }
    },
    finish: async () => {
      await file.close();
      refuseExisting(path, options.force);
      await rename(part, path);
    },
    discard: async () => {
      await file.close();
      rmSync(part, { force: true });
    },
  };
}

/** Standard output: what was written cannot be taken back, so only the exit code tells a broken transfer. */
export function createStreamSink(output: NodeJS.WritableStream): ContentSink {
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        output.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    finish: async () => {},
    discard: async () => {},
  };
}

/** @throws {CliError} when `path` must not be written. */
export function refuseExisting(path: string, force: boolean): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    throw new CliError(`${path} is a directory`, "Name the file with -o FILE.");
  if (!force && existsSync(path))
    throw new CliError(
      `${path} exists`,
      "Pass --force to replace it, or -o FILE for another name.",
    );
}

function cannotWrite(path: string, error: unknown): CliError {
  const code = errorCode(error) ?? "unknown error";
  const hint =
    code === "ENOSPC"
      ? "The disk is full."
      : "Check the directory, or choose another one with -o FILE.";
  return new CliError(`cannot write ${path}: ${code}`, hint, { cause: error });
}
