import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { z } from "zod";

/**
 * Runs a program of ours in a process of its own, whose memory and CPU time are then its own, and waits for the one thing that it
 * tells with {@link tellParent}.
 *
 * @param program URL of its file: `import.meta.url` for the caller's own.
 * @throws when it ends without a word, or tells something else.
 */
export async function resultOfChild<Schema extends z.ZodType>(
  program: string,
  args: readonly string[],
  schema: Schema,
  options: { readonly execArgv?: readonly string[] } = {},
): Promise<z.output<Schema>> {
  const child = fork(fileURLToPath(program), [...args], {
    execArgv: [...(options.execArgv ?? [])],
  });
  const exited = once(child, "exit");
  const gone = exited.then(([code, signal]) => {
    throw new Error(`${program} ended with ${String(code ?? signal)} before it had a result`);
  });
  gone.catch(() => {});
  try {
    const told = once(child, "message").then(([message]) => schema.parse(message));
    return await Promise.race([told, gone]);
  } finally {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await exited;
  }
}

/** The result goes to the parent process; started by hand, to standard output. */
export function tellParent(result: object): void {
  if (process.send === undefined) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
  else process.send(result);
}
