/** The local cluster cannot do what was asked. The message is one sentence for the user; the hint says what to do. */
export class LocalError extends Error {
  override readonly name = "LocalError";
  readonly hint: string | undefined;

  constructor(message: string, hint?: string, options?: { readonly cause: unknown }) {
    super(message, options);
    this.hint = hint;
  }
}

/** A file of ours is not what we wrote. */
export class DamagedFile extends LocalError {}
