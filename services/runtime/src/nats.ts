import { connect, type NatsConnection } from "@nats-io/transport-node";

/** The wait between two tries to reach NATS; the client adds jitter. */
const RECONNECT_WAIT_MS = 500;

/** Where NATS is and who we are there. */
export interface NatsSettings {
  /** `nats://user:password@host:port`, several joined by commas; `tls://` verifies the server. */
  readonly url: string;
  /** Connection name shown by the server's monitoring. */
  readonly name: string;
  /** Prefix of our reply subjects: other clients must not be able to read them. */
  readonly inboxPrefix: string;
  /** Set: the first connection fails when a server has not let us in after so long. Else it is waited for. */
  readonly firstConnectTimeoutMs?: number;
}

/**
 * Connects for the life of the process: waits for a server that is not there yet and reconnects for ever, because the
 * control plane may come back at any time. Close the connection to give up. Only {@link NatsSettings.firstConnectTimeoutMs} makes it reject.
 */
export function connectNats(settings: NatsSettings): Promise<NatsConnection> {
  const servers = settings.url.split(",").map((text) => new URL(text.trim()));
  const first = servers[0];
  const credentials =
    first === undefined || first.username === ""
      ? {}
      : { user: decodeURIComponent(first.username), pass: decodeURIComponent(first.password) };
  const { firstConnectTimeoutMs } = settings;
  return connect({
    servers: servers.map((server) => server.host),
    name: settings.name,
    inboxPrefix: settings.inboxPrefix,
    maxReconnectAttempts: -1,
    waitOnFirstConnect: firstConnectTimeoutMs === undefined,
    ...(firstConnectTimeoutMs === undefined ? {} : { timeout: firstConnectTimeoutMs }),
    reconnectTimeWait: RECONNECT_WAIT_MS,
    // Otherwise two refused logins in a row close the connection for ever, and passwords are changed while peers run.
    ignoreAuthErrorAbort: true,
    // Otherwise every request makes an Error beforehand, for its stack: a tenth of a peer's time with small objects.
    noAsyncTraces: true,
    ...credentials,
    ...(servers.some((server) => server.protocol === "tls:") ? { tls: {} } : {}),
  });
}
