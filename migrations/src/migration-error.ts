/**
 * A migration could not be done. Has the fields of a `PortError`; not one itself, because this package stands below the
 * services and imports nothing of ours.
 */
export class MigrationError extends Error {
  override readonly name = "MigrationError";
  /** Closed, machine-readable name of the condition. */
  readonly code: MigrationErrorCode;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;

  constructor(
    code: MigrationErrorCode,
    message: string,
    options: { readonly retryable: boolean; readonly cause?: unknown },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable;
  }
}

export type MigrationErrorCode =
  /** Nobody answers, or refuses to talk. */
  | "database_unavailable"
  /** Another migration holds the lock for too long. */
  | "migration_locked"
  /** A file was changed after it had been applied. */
  | "migration_changed"
  /** The database has a migration that these files do not. */
  | "schema_newer"
  /** A file's name breaks the grammar or its number stands twice. */
  | "migration_misnamed"
  /** The SQL failed; nothing of the file was kept. */
  | "migration_failed";
