import {
  Agent as HttpAgent,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { connect as tlsConnect, getCACertificates } from "node:tls";
import { wantsConnectionCredentials } from "../../core/connection-auth.ts";
import { headersOfFlat } from "../../core/http-headers.ts";
import { ConnectionSlots, SLOT_LIMITS, type SlotLimits } from "./connection-slots.ts";
import { OPEN_GUARD, type OutboundGuard } from "./outbound-guard.ts";

/** Kept open per origin for the next request: with fewer, more clients than that at once would have a new connection made for each. */
const IDLE_SOCKETS_PER_ORIGIN_MAX = 64;
/** And to all origins of a scheme; with more, connections are closed after their answer. */
const IDLE_SOCKETS_MAX = 1024;
/** Many servers close idle connections after 5 s or more; what they announce by `Keep-Alive` shortens this. */
const IDLE_SOCKET_MS = 4_000;
/** TCP probes find a peer that vanished without a word. */
export const TCP_KEEP_ALIVE_MS = 30_000;

/** A TCP and TLS connection must stand within this. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** The head of an answer must come within this after the request was started. */
export const HEAD_TIMEOUT_MS = 30_000;

/** Certificates in PEM that are trusted besides the system's and `NODE_EXTRA_CA_CERTS`. */
export interface OriginTrust {
  readonly everywhere: readonly string[];
  /** By host name in lower case. */
  readonly byHost: ReadonlyMap<string, readonly string[]>;
}

/** Nothing but what the system and `NODE_EXTRA_CA_CERTS` trust. */
export const SYSTEM_TRUST: OriginTrust = { everywhere: [], byHost: new Map() };

/** Connections by the scheme they are for. */
export interface OriginAgents {
  readonly http: HttpAgent;
  readonly https: HttpsAgent;
}

/**
 * A pool of connections to origins. Downloads have one, and what is passed through another, so that event streams cannot keep
 * downloads from an origin. Certificates are always verified: there is no switch to turn that off, only a way to trust more.
 */
export class OriginConnections {
  readonly #kept: OriginAgents;
  readonly #fresh: OriginAgents;
  readonly #trust: OriginTrust;
  /** Decides where connections may lead; whoever opens one without {@link optionsFor} asks it too. */
  readonly guard: OutboundGuard;
  /** Taken before a request is started; nothing else bounds the connections in use. */
  readonly slots: ConnectionSlots;
  readonly #caByHost = new Map<string, string[]>();

  constructor(
    trust: OriginTrust = SYSTEM_TRUST,
    guard: OutboundGuard = OPEN_GUARD,
    limits: SlotLimits = SLOT_LIMITS,
  ) {
    this.#trust = trust;
    this.guard = guard;
    this.slots = new ConnectionSlots(limits);
    const kept = {
      keepAlive: true,
      keepAliveMsecs: TCP_KEEP_ALIVE_MS,
      maxFreeSockets: IDLE_SOCKETS_PER_ORIGIN_MAX,
      timeout: IDLE_SOCKET_MS,
      scheduling: "lifo" as const,
    };
    this.#kept = { http: new HttpAgent(kept), https: new HttpsAgent(kept) };
    // Without bounds of their own they hand no connection on to another request either.
    this.#fresh = { http: new HttpAgent(), https: new HttpsAgent() };
  }

  /** Why the origin of a URL must not be asked; `undefined` when nothing is against it. */
  problemOf(url: URL): string | undefined {
    return this.guard.problemOf(url.hostname, portOf(url));
  }

  /**
   * What `http.request` needs to reach the origin of a URL.
   *
   * @param connection `kept`: may be one that was used before, which the origin may just be closing, so the caller must be
   *   ready to repeat the request. `fresh`: for requests that must not be sent twice. Or connections of the caller's own.
   */
  optionsFor(url: URL, connection: "kept" | "fresh" | OriginAgents): RequestOptions {
    const own = typeof connection === "string" ? undefined : connection;
    const agents = own ?? (connection === "kept" ? this.#kept : this.#fresh);
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const shared = {
      protocol: url.protocol,
      host,
      port: portOf(url),
      lookup: this.guard.lookup,
      setDefaultHeaders: false,
      insecureHTTPParser: false,
      maxHeaderSize: ANSWER_HEAD_BYTES_MAX,
    };
    if (url.protocol === "http:") return { ...shared, agent: agents.http };
    const ca = this.#caOf(url.hostname);
    return { ...shared, agent: agents.https, ...(ca === undefined ? {} : { ca }) };
  }

  /**
   * Has a connection of this pool closed after its answer when the next request on it could be another client's that must not
   * follow this one: the origin tells clients apart by their connections.
   */
  settle(request: ClientRequest, answer: IncomingMessage): void {
    const isPersonal = wantsConnectionCredentials(headersOfFlat(answer.rawHeaders));
    const idle = request.protocol === "https:" ? this.#kept.https : this.#kept.http;
    if (isPersonal || idleCountOf(idle) >= IDLE_SOCKETS_MAX) request.shouldKeepAlive = false;
  }

  /**
   * Whether the host of a URL completes a TLS handshake with a certificate we trust on port 443, within `timeoutMs`.
   * One that must not be asked there is not tried.
   */
  async speaksTls(hostname: string, timeoutMs: number): Promise<boolean> {
    if (this.guard.problemOf(hostname, HTTPS_PORT) !== undefined) return false;
    const host = hostname.replace(/^\[|\]$/g, "");
    const ca = this.#caOf(hostname);
    return new Promise<boolean>((resolve) => {
      const socket = tlsConnect({
        host,
        port: HTTPS_PORT,
        lookup: this.guard.lookup,
        // A literal address is no server name (RFC 6066 section 3).
        ...(/[a-z]/i.test(host) && !host.includes(":") ? { servername: host } : {}),
        ...(ca === undefined ? {} : { ca }),
      });
      const settle = (speaks: boolean): void => {
        resolve(speaks);
        socket.destroy();
      };
      socket.setTimeout(timeoutMs, () => settle(false));
      socket.once("secureConnect", () => settle(socket.authorized));
      socket.once("error", () => settle(false));
    });
  }

  close(): void {
    for (const agents of [this.#kept, this.#fresh]) {
      agents.http.destroy();
      agents.https.destroy();
    }
  }

  #caOf(hostname: string): string[] | undefined {
    const ofHost = this.#trust.byHost.get(hostname.toLowerCase());
    if (ofHost === undefined && this.#trust.everywhere.length === 0) return undefined;
    const known = this.#caByHost.get(ofHost === undefined ? "" : hostname.toLowerCase());
    if (known !== undefined) return known;
    const ca = [...getCACertificates("default"), ...this.#trust.everywhere, ...(ofHost ?? [])];
    this.#caByHost.set(ofHost === undefined ? "" : hostname.toLowerCase(), ca);
    return ca;
  }
}

function idleCountOf({ freeSockets }: HttpAgent | HttpsAgent): number {
  let count = 0;
  for (const name in freeSockets) count += freeSockets[name]?.length ?? 0;
  return count;
}

/** The head of an answer; hubs and stores send long signed redirects. */
const ANSWER_HEAD_BYTES_MAX = 64 * 1024;

const HTTPS_PORT = 443;

function portOf(url: URL): number {
  if (url.port !== "") return Number(url.port);
  return url.protocol === "https:" ? HTTPS_PORT : 80;
}
