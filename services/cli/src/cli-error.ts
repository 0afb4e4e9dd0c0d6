/** A command failed in a way its user can understand: one line, and what to do about it. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly hint: string | undefined;

  constructor(message: string, hint?: string, options?: { readonly cause: unknown }) {
    super(message, options);
    this.hint = hint;
  }
}
