const REDACTED = "[redacted]";

/**
 * A text that must not be seen: a password, a signing key, a bearer token. Whatever prints it (a log line, JSON, a template
 * string, `util.inspect`) prints `[redacted]`; only {@link Secret.reveal} gives the text, and that word is easy to search for.
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself, for the one call that needs it. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [Symbol.toPrimitive](): string {
    return REDACTED;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return REDACTED;
  }
}
