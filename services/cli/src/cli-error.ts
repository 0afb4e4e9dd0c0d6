import { constants } from "node:os";

/** A command failed in a way its user can understand: one line, and what to do about it. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly hint: string | undefined;

  constructor(message: string, hint?: string, options?: { readonly cause: unknown }) {
    super(message, options);
    this.hint = hint;
  }
}

/** The user, or the system, ended the command. */
export class Interrupted extends CliError {
  /** As a shell reports the signal. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(signal === "SIGINT" ? "interrupted" : `ended by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}
