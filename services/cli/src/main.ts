import { errorCode } from "@lacewing/local/files.ts";
import { LocalError } from "@lacewing/local/local-error.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { Command, CommanderError } from "commander";
import { CliError, Interrupted } from "./cli-error.ts";
import { registerDown } from "./commands/down.ts";
import { registerGet } from "./commands/get.ts";
import { registerHosts } from "./commands/hosts.ts";
import { registerLs } from "./commands/ls.ts";
import { registerMigrate } from "./commands/migrate.ts";
import { registerPeers } from "./commands/peers.ts";
import { registerPin, registerUnpin } from "./commands/pin.ts";
import { registerRm } from "./commands/rm.ts";
import { registerScheduler } from "./commands/scheduler.ts";
import { registerSql } from "./commands/sql.ts";
import { registerStat } from "./commands/stat.ts";
import { registerTasks } from "./commands/tasks.ts";
import { registerUp } from "./commands/up.ts";
import { registerWhy } from "./commands/why.ts";
import type { CliContext } from "./context.ts";

const context: CliContext = {
  env: process.env,
  print: (text) => void process.stdout.write(`${text}\n`),
  note: (text) => void process.stderr.write(`${text}\n`),
  output: process.stdout,
  isTerminal: process.stdout.isTTY,
};

// `lacewing sql … | head` closes our output early: that is no failure.
process.stdout.on("error", (error) => {
  process.exit(errorCode(error) === "EPIPE" ? 0 : 1);
});

const program = new Command("lacewing")
  .description(
    "Distributes large files between machines. Commands for a local cluster and its data.",
  )
  .version("0.1.0")
  .showSuggestionAfterError()
  .showHelpAfterError("Run `lacewing --help` for the commands.")
  .exitOverride();

// One file per command in commands/; each registers itself.
for (const register of [
  registerUp,
  registerDown,
  registerGet,
  registerLs,
  registerStat,
  registerPin,
  registerUnpin,
  registerRm,
  registerWhy,
  registerHosts,
  registerTasks,
  registerPeers,
  registerSql,
  registerMigrate,
  registerScheduler,
]) {
  register(program, context);
}
// Sub-commands do not inherit this.
for (const command of program.commands) command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** Says what went wrong, without a stack, and returns the exit code. */
function report(error: unknown): number {
  // Commander has printed its message already.
  if (error instanceof CommanderError) return error.exitCode;
  context.note(`lacewing: ${messageOf(error)}`);
  if ((error instanceof CliError || error instanceof LocalError) && error.hint !== undefined) {
    context.note(error.hint);
  }
  return error instanceof Interrupted ? error.exitCode : 1;
}
