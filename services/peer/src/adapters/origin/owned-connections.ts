import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { Socket } from "node:net";
import { ConnectionSlots, SLOT_LIMITS } from "./connection-slots.ts";
import { type OriginAgents, TCP_KEEP_ALIVE_MS } from "./origin-connections.ts";
import { OriginError } from "./origin-error.ts";

/** Connections to origins that belong to one client connection each; they stay open as long as it does. */
const OWNED_CONNECTION_COUNT_MAX = 1024;
/** Of these for one client connection: programs ask a few servers on one. */
const OWNED_PER_CLIENT_MAX = 16;
/** Without a request for so long one is closed; its client's own connection is closed about then too. */
const OWNED_IDLE_MS = 65_000;

/** The one connection to an origin that a client connection has for itself, made when it is first needed and again when it broke. */
export interface OwnedConnection {
  readonly agents: OriginAgents;
  /** One: requests on it go one after another. */
  readonly slots: ConnectionSlots;
}

/**
 * Connections for origins that tell clients apart by connection (NTLM, Negotiate). Whatever is sent on one is taken for the same
 * user's, so that no other client's request may ever follow. They are closed with the client's connection.
 */
export class OwnedConnections {
  readonly #byClient = new WeakMap<Socket, Map<string, OwnedConnection>>();
  readonly #countMax: number;
  #count = 0;

  constructor(countMax: number = OWNED_CONNECTION_COUNT_MAX) {
    this.#countMax = countMax;
  }

  /** What a client connection has for itself to the origin of a URL. */
  of(client: Socket, url: URL): OwnedConnection | undefined {
    return this.#byClient.get(client)?.get(url.origin);
  }

  /**
   * From now on the client connection, which is open, has one for itself.
   *
   * @throws {OriginError} `origin_busy` when there are as many as there may be.
   */
  begin(client: Socket, url: URL): OwnedConnection {
    const known = this.of(client, url);
    if (known !== undefined) return known;
    if ((this.#byClient.get(client)?.size ?? 0) >= OWNED_PER_CLIENT_MAX) {
      const text = `a client connection has ${OWNED_PER_CLIENT_MAX} to such origins (NTLM, Negotiate), use another one`;
      throw new OriginError("origin_busy", `${url.host}: ${text}`);
    }
    if (this.#count >= this.#countMax) {
      const text = `all ${this.#countMax} connections that belong to one client each (NTLM, Negotiate) are in use`;
      throw new OriginError("origin_busy", `${url.host}: ${text}`);
    }
    const owned = newOwned();
    this.#ofClient(client).set(url.origin, owned);
    this.#count += 1;
    return owned;
  }

  #ofClient(client: Socket): Map<string, OwnedConnection> {
    const known = this.#byClient.get(client);
    if (known !== undefined) return known;
    const owned = new Map<string, OwnedConnection>();
    this.#byClient.set(client, owned);
    client.once("close", () => {
      this.#count -= owned.size;
      for (const { agents } of owned.values()) {
        agents.http.destroy();
        agents.https.destroy();
      }
    });
    return owned;
  }
}

function newOwned(): OwnedConnection {
  const options = {
    keepAlive: true,
    keepAliveMsecs: TCP_KEEP_ALIVE_MS,
    maxFreeSockets: 1,
    timeout: OWNED_IDLE_MS,
  };
  return {
    agents: { http: new HttpAgent(options), https: new HttpsAgent(options) },
    slots: new ConnectionSlots({ ...SLOT_LIMITS, perOrigin: 1 }),
  };
}
