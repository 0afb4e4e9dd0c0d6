import type { ClientRequest, IncomingMessage } from "node:http";
import { connect, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Log } from "@lacewing/observability/log.ts";
import type { Pace } from "../../app/pace.ts";
import type { HeaderList } from "../../app/ports.ts";
import { flatOfHeaders, headersOfFlat, endToEndHeaders, withVia } from "../../core/http-headers.ts";
import { authorityOf } from "@lacewing/contracts/url-parts.ts";
import type { FreeSlot } from "../origin/connection-slots.ts";
import {
  CONNECT_TIMEOUT_MS,
  TCP_KEEP_ALIVE_MS,
  type OriginConnections,
} from "../origin/origin-connections.ts";
import { OriginError, originErrorOf } from "../origin/origin-error.ts";
import {
  codingProblem,
  limitConnectTime,
  limitInterimAnswers,
  startRequest,
} from "../origin/origin-exchange.ts";
import { pacedStream } from "./client-paces.ts";
import { endWithText, gatewayFailure } from "./plain-answers.ts";
import { sandboxed } from "./request-checks.ts";

/** Once one side has ended, the other may stay silent for this long. */
const HALF_CLOSED_IDLE_TIMEOUT_MS = 10 * 60_000;

/** Opens a TCP connection for a CONNECT request and carries bytes both ways, untouched (RFC 9110 section 9.3.6). */
export function openTunnel(tunnel: {
  readonly client: Socket;
  /** What the client sent after its request. */
  readonly head: Buffer;
  readonly host: string;
  readonly port: number;
  readonly connections: OriginConnections;
  /** Asked before bytes are passed on to the client. */
  readonly pace: Pace | undefined;
  readonly log: Log;
}): void {
  const { client, head, host, port, connections, pace, log } = tunnel;
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const origin = connect({
    host,
    port,
    lookup: connections.guard.lookup,
    allowHalfOpen: true,
    noDelay: true,
  });
  const timer = setTimeout(() => {
    const text = `cannot reach ${authority}: no connection within ${CONNECT_TIMEOUT_MS} ms`;
    origin.destroy(new OriginError("origin_timeout", text));
  }, CONNECT_TIMEOUT_MS);
  const refuse = (error: Error): void => {
    const failure = originErrorOf(error, { host: authority }, "origin_unreachable");
    const { status, text } = gatewayFailure(failure);
    log.warn("tunnel_not_opened", { host: authority, status, error: failure });
    endWithText(client, status, text.replace(/^lacewing: /, ""));
  };
  const clientGone = (): void => {
    clearTimeout(timer);
    origin.destroy();
  };
  origin.once("error", refuse);
  origin.once("close", () => clearTimeout(timer));
  client.once("close", clientGone);
  client.once("error", clientGone);
  origin.once("connect", () => {
    clearTimeout(timer);
    origin.off("error", refuse);
    client.write("HTTP/1.1 200 Connection established\r\n\r\n");
    if (head.length > 0) origin.write(head);
    carryBothWays(client, origin, pace);
  });
}

/** An upgrade (WebSocket and the like) that a client asked an origin for. */
export interface Upgrade {
  readonly request: IncomingMessage;
  readonly client: Duplex;
  readonly head: Buffer;
  readonly url: URL;
  readonly path: string;
  /** End-to-end headers without `Host`, with this proxy's `Via`. */
  readonly headers: HeaderList;
  readonly connections: OriginConnections;
  readonly viaName: string;
  /** Asked before bytes are passed on to the client. */
  readonly pace: Pace | undefined;
  readonly log: Log;
}

/**
 * Asks the origin to switch protocols; when it does, carries bytes both ways (RFC 9110 section 7.8). The connection counts like any
 * other to that origin, for as long as it is open.
 */
export function openUpgrade(upgrade: Upgrade): void {
  const { request, url, connections } = upgrade;
  const slot = connections.slots.takeNow(url, request.socket.remoteAddress);
  if (slot === undefined) void openInTurn(upgrade);
  else openIn(slot, upgrade);
}

async function openInTurn(upgrade: Upgrade): Promise<void> {
  const { request, client, url, connections } = upgrade;
  const gone = new AbortController();
  const onClose = (): void => gone.abort();
  client.once("close", onClose);
  const unwatch = watchEnd(client);
  try {
    const from = request.socket.remoteAddress;
    const slot = await connections.slots.wait(url, { client: from, signal: gone.signal });
    if (client.destroyed) slot();
    else openIn(slot, upgrade);
  } catch (error) {
    if (!client.destroyed) refuse(upgrade, error);
  } finally {
    client.off("close", onClose);
    unwatch();
  }
}

/** Nobody reads from a connection that waits, so that its end would not be seen. What comes of it stays where it is. */
function watchEnd(client: Duplex): () => void {
  const look = (): void => {
    if (client.readableLength === 0) client.read();
  };
  const end = (): void => {
    client.destroy();
  };
  client.on("readable", look).once("end", end);
  return () => client.off("readable", look).off("end", end);
}

function refuse({ client, url, log }: Upgrade, error: unknown): void {
  const failure = originErrorOf(error, url, "origin_unreachable");
  const { status, text, headers } = gatewayFailure(failure);
  log.warn("origin_not_reached", { host: url.host, status, error: failure });
  endWithText(client, status, text.replace(/^lacewing: /, ""), headers);
}

function startUpgrade({ request, url, connections, path, headers }: Upgrade): ClientRequest {
  return startRequest(url, {
    ...connections.optionsFor(url, "fresh"),
    method: request.method ?? "GET",
    path,
    headers: flatOfHeaders([
      ["Host", authorityOf(url)],
      ...headers,
      ["Connection", "Upgrade"],
      ["Upgrade", request.headers.upgrade ?? ""],
    ]),
    timeout: UPGRADE_TIMEOUT_MS,
  });
}

function openIn(slot: FreeSlot, upgrade: Upgrade): void {
  const { client, head, url, pace } = upgrade;
  let originRequest: ClientRequest;
  try {
    originRequest = startUpgrade(upgrade);
  } catch (error) {
    slot();
    throw error;
  }
  let isUpgraded = false;
  // A request is over with the upgrade; its connection is not.
  originRequest.once("close", () => {
    if (!isUpgraded) slot();
  });
  limitConnectTime(originRequest, url);
  limitInterimAnswers(originRequest, url);
  const clientGone = (): void => {
    originRequest.destroy();
  };
  client.once("close", clientGone);
  client.once("error", clientGone);
  originRequest.once("timeout", () => {
    const text = `${url.host} did not answer within ${UPGRADE_TIMEOUT_MS} ms`;
    originRequest.destroy(new OriginError("origin_timeout", text));
  });
  originRequest.on("error", (error) => {
    if (!client.destroyed) refuse(upgrade, error);
  });
  originRequest.once("upgrade", (answer, origin, originHead) => {
    isUpgraded = true;
    if (origin.destroyed) slot();
    else origin.once("close", slot);
    client.off("close", clientGone);
    origin.setTimeout(0);
    client.write(
      headText(upgrade, answer, [
        "Connection: Upgrade",
        `Upgrade: ${answer.headers.upgrade ?? ""}`,
      ]),
      "latin1",
    );
    if (originHead.length > 0) client.write(originHead);
    if (head.length > 0) origin.write(head);
    carryBothWays(client, origin, pace);
  });
  originRequest.once("response", (answer) => {
    // Given up in the middle of a packet that goes on with it.
    if (originRequest.destroyed) return;
    const problem = codingProblem(answer, url);
    if (problem !== undefined) {
      originRequest.destroy(problem);
      return;
    }
    // Refused: the answer ends with the connection, which frames it whatever its length.
    client.write(headText(upgrade, answer, ["Connection: close"]), "latin1");
    answer.on("error", () => client.destroy());
    if (pace === undefined) answer.pipe(client);
    else answer.pipe(pacedStream(pace)).pipe(client);
  });
  originRequest.end();
}

/** The origin's answer to an upgrade must come within this. */
const UPGRADE_TIMEOUT_MS = 30_000;

function headText(upgrade: Upgrade, answer: IncomingMessage, added: readonly string[]): string {
  const { request, url, viaName } = upgrade;
  const headers = sandboxed(
    withVia(endToEndHeaders(headersOfFlat(answer.rawHeaders)), answer.httpVersion, viaName),
    request.url,
    url,
  );
  const lines = [...headers.map(([name, value]) => `${name}: ${value}`), ...added];
  return `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\n${lines.join("\r\n")}\r\n\r\n`;
}

/** Each side's end becomes the other's, so that a half-closed connection works; a broken side breaks the other. */
function carryBothWays(client: Duplex, origin: Socket, pace: Pace | undefined): void {
  const directions = [
    [client, origin],
    [origin, client],
  ] as const;
  for (const [from, to] of directions) {
    if (from instanceof Socket) from.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    from.on("error", () => to.destroy());
    from.once("close", () => {
      // Closed after its end: what it sent is still being written to the other side.
      if (!from.readableEnded) to.destroy();
    });
    from.once("end", () => {
      if (!(to instanceof Socket)) return;
      to.setTimeout(HALF_CLOSED_IDLE_TIMEOUT_MS, () => to.destroy());
    });
    if (pace === undefined || from === client) from.pipe(to);
    else from.pipe(pacedStream(pace)).pipe(to);
  }
}
