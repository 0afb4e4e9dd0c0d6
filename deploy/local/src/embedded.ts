import type { ChildSpec } from "./children.ts";
import { findSetpriv } from "./death-signal.ts";
import { findNatsServer } from "./nats-binary.ts";
import { natsChild, natsUrl } from "./nats-server.ts";
import {
  databaseUrl,
  ensureDatabase,
  initializePostgres,
  postgresChild,
  type PostgresPlan,
} from "./postgres.ts";
import { findPostgres } from "./postgres-binaries.ts";
import { preparePostgresHome } from "./postgres-home.ts";
import { DATA_DIR_MARK } from "./process-table.ts";
import { ensureSecrets } from "./secrets.ts";
import { logFileOf } from "./services.ts";

/** What starting the embedded servers needs. */
export interface EmbeddedContext {
  readonly dataDir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly ports: Readonly<Record<string, number>>;
  readonly signal: AbortSignal;
  readonly onNote: (text: string) => void;
  /** Starts a child and resolves when it is ready. */
  readonly startChild: (spec: ChildSpec) => Promise<void>;
}

/** Finds or fetches a nats-server, starts it and returns its URL with user and password. */
export async function startNats(context: EmbeddedContext): Promise<string> {
  const binary = await findNatsServer(context);
  const login = {
    port: context.ports["nats"] ?? 0,
    user: "lacewing",
    password: ensureSecrets(context.dataDir).natsPassword,
  };
  const spec = natsChild({
    ...login,
    binary: binary.path,
    dataDir: context.dataDir,
    monitorPort: context.ports["nats-monitor"] ?? 0,
    env: serverEnv(context),
    logFile: logFileOf(context.dataDir, "nats"),
    setpriv: findSetpriv(),
  });
  await context.startChild(spec);
  return natsUrl(login);
}

/** Finds a PostgreSQL, makes its data directory and our database when they are missing, and returns the database's URL. */
export async function startPostgres(context: EmbeddedContext): Promise<string> {
  const binaries = findPostgres(context.env);
  const secrets = ensureSecrets(context.dataDir);
  const plan: PostgresPlan = {
    home: preparePostgresHome(context.dataDir, binaries),
    binaries,
    port: context.ports["postgres"] ?? 0,
    adminPassword: secrets.postgresAdminPassword,
    password: secrets.postgresPassword,
    env: serverEnv(context),
    logFile: logFileOf(context.dataDir, "postgres"),
    setpriv: findSetpriv(),
  };
  await initializePostgres(plan, context.signal);
  await context.startChild(postgresChild(plan));
  await ensureDatabase(plan);
  return databaseUrl(plan);
}

/** Servers get no setting of the user's by accident: PostgreSQL reads `PG*`, both read the locale. */
function serverEnv(context: EmbeddedContext): Readonly<Record<string, string>> {
  return {
    PATH: context.env["PATH"] ?? "/usr/bin:/bin",
    LC_ALL: "C",
    [DATA_DIR_MARK]: context.dataDir,
  };
}
