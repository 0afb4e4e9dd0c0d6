import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation, PortError } from "@lacewing/runtime/errors.ts";
import type { SocketAddress } from "@lacewing/runtime/settings.ts";
import type { DownloadPort } from "../../app/ports.ts";
import { headersOfFlat } from "../../core/http-headers.ts";
import { matchRule, type Rule } from "../../core/rules.ts";
import type { OriginConnections } from "../origin/origin-connections.ts";
import { Admission } from "./admission.ts";
import { type AccessProblem, type ClientAccess, OPEN_ACCESS } from "./client-access.ts";
import { ClientPaces } from "./client-paces.ts";
import { Forwarding, headersToSend } from "./forwarding.ts";
import { HotAnswers } from "./hot-answers.ts";
import { hasBody } from "./pass-through.ts";
import { answerOptions, answerWithText, endWithText, USAGE } from "./plain-answers.ts";
import {
  browserProblem,
  isByPrefix,
  isOptionsOfProxy,
  type PortNames,
  portNames,
} from "./request-checks.ts";
import { parseConnectTarget, parseRequestTarget, type RequestTarget } from "./request-target.ts";
import { ruledUrl } from "./ruled-url.ts";
import { openTunnel, openUpgrade } from "./tunnel.ts";
import { UnsharedHosts } from "./unshared-hosts.ts";

/** The head of a request; signed URLs are long, and cookies are not meant to be longer. */
export const REQUEST_HEAD_BYTES_MAX = 32 * 1024;
/** A client must have sent its head within this. */
const HEAD_TIMEOUT_MS = 30_000;
/** Kept open for a client's next request a little longer than most clients keep connections. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
/** At the end, answers under way may take this long; it must be less than what `runService` allows. */
const CLOSE_GRACE_MS = 5_000;

export interface HttpProxyOptions {
  readonly address: SocketAddress;
  /** In the order they are tried. */
  readonly rules: readonly Rule[];
  readonly downloads: DownloadPort;
  /** For what is passed through; stays the caller's. */
  readonly connections: OriginConnections;
  /** This proxy's name in `Via`: letters, digits, `-`, `_` and `.`, different from every other proxy's. */
  readonly viaName: string;
  /** Ports that CONNECT may reach; `undefined`: any. */
  readonly connectPorts?: readonly number[] | undefined;
  /** Default: whoever reaches the port. */
  readonly access?: ClientAccess;
  /** To each client address, in all; default 0: as fast as it takes them. */
  readonly clientBytesPerSecond?: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface HttpProxy {
  readonly address: SocketAddress;
  /** Takes no new connection, lets answers under way end for a short while, then breaks the rest off. */
  close(): Promise<void>;
}

/**
 * Opens the proxy port.
 *
 * @throws {PortError} `proxy_port_taken`, retryable, when something else listens there; `proxy_not_started` for other reasons.
 */
export async function startHttpProxy(options: HttpProxyOptions): Promise<HttpProxy> {
  const door = new ProxyDoor(options);
  const server = createServer({
    insecureHTTPParser: false,
    maxHeaderSize: REQUEST_HEAD_BYTES_MAX,
    headersTimeout: HEAD_TIMEOUT_MS,
    // An upload may take hours; what stands still is ended by the pass-through's idle limit.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    noDelay: true,
    // Checked by the admission, which tells the client why.
    requireHostHeader: false,
    // h2c is an offer that may be ignored, and HTTP/1.0 knows no upgrade (RFC 9110 section 7.8); others become tunnels.
    shouldUpgradeCallback: ({ headers, httpVersion }) =>
      httpVersion === "1.1" && !/h2c|^http/i.test(headers.upgrade ?? ""),
  });
  // Node would drop the fields above its limit without a word; the admission refuses such a request.
  server.maxHeadersCount = 0;
  const countMax = (options.access ?? OPEN_ACCESS).clientCountMax;
  server.maxConnections = countMax;
  server.on("drop", () => options.log.warn("connection_refused", { countMax }));
  for (const event of ["request", "checkContinue", "checkExpectation"] as const) {
    server.on(event, (request: IncomingMessage, response: ServerResponse) => {
      door.guarded(response, () => door.request(request, response));
    });
  }
  server.on("connect", (request, client, head) => {
    door.guarded(client, () => door.connect(request, client, head));
  });
  server.on("upgrade", (request, client, head) => {
    door.guarded(client, () => door.upgrade(request, client, head));
  });
  server.on("clientError", (error, socket) => door.clientError(error, socket));
  await listen(server, options.address);
  const bound = server.address();
  const port = bound === null || typeof bound === "string" ? options.address.port : bound.port;
  return {
    address: { host: options.address.host, port },
    close: async () => closeGently(server, door),
  };
}

async function listen(server: Server, { host, port }: SocketAddress): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === "EADDRINUSE";
      const text = `cannot listen on ${host}:${port}: ${isTaken ? "the port is taken" : error.message}`;
      const code = isTaken ? "proxy_port_taken" : "proxy_not_started";
      reject(new PortError(code, text, { retryable: isTaken, cause: error }));
    });
    server.listen({ host, port }, resolve);
  });
}

async function closeGently(server: Server, door: ProxyDoor): Promise<void> {
  door.beginClosing();
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const timer = setTimeout(() => {
    server.closeAllConnections();
    door.breakTunnels();
  }, CLOSE_GRACE_MS);
  await closed;
  clearTimeout(timer);
}

/** Sends each request on its way. */
class ProxyDoor {
  readonly #options: HttpProxyOptions;
  readonly #admission: Admission;
  readonly #paces: ClientPaces;
  readonly #names: PortNames;
  readonly #unshared: UnsharedHosts;
  readonly #hot = new HotAnswers();
  readonly #forwarding: Forwarding;
  readonly #tunnels = new Set<Duplex>();
  /** Answers that are not written to their end, by connection. */
  readonly #answering = new Map<Duplex, Set<ServerResponse>>();
  #isClosing = false;

  constructor(options: HttpProxyOptions) {
    this.#options = options;
    this.#names = portNames(options.address.host, options.access?.names ?? []);
    this.#admission = new Admission({ ...options, access: options.access ?? OPEN_ACCESS });
    this.#paces = new ClientPaces(options.clientBytesPerSecond ?? 0, options.clock);
    this.#unshared = new UnsharedHosts(options.log);
    const [hot, unshared] = [this.#hot, this.#unshared];
    const requestBodyBytesMax = options.access?.requestBodyBytesMax;
    this.#forwarding = new Forwarding({ ...options, requestBodyBytesMax, hot, unshared });
  }

  /** Node refuses some requests by throwing; one strange request must not end the service. */
  guarded(connection: { destroy(): void }, handle: () => void): void {
    try {
      handle();
    } catch (error) {
      connection.destroy();
      if (error instanceof InvariantViolation) throw error;
      this.#options.log.error("request_failed", { error });
    }
  }

  request(request: IncomingMessage, response: ServerResponse): void {
    const receivedAtMs = this.#options.clock.monotonic();
    this.#trackAnswer(request.socket, response);
    // A broken connection shows as the closing of the response.
    request.on("error", () => {});
    response.on("error", () => {});
    const received = headersOfFlat(request.rawHeaders);
    const hot = this.#hot.of(request);
    const target = hot?.target ?? parseRequestTarget(request.url ?? "");
    const rule = hot?.rule ?? this.#ruleFor(target);
    const problem = this.#admission.problemOf(request, received, target, rule);
    if (problem !== undefined) {
      // Whoever is asked for credentials sends them on the same connection.
      if (problem.status !== 407) response.shouldKeepAlive = false;
      answerWithText(response, problem.status, `lacewing: ${problem.reason}`, problem.headers);
      return;
    }
    if (isOptionsOfProxy(request.method ?? "", request.url ?? "", received)) {
      answerOptions(response);
      return;
    }
    if (target.kind === "origin" && isByPrefix(request.url)) {
      const page = browserProblem(received, this.#names);
      if (page !== undefined) {
        answerWithText(response, page.status, `lacewing: ${page.reason}`);
        return;
      }
    }
    switch (target.kind) {
      case "health":
        answerWithText(response, 200, "ok");
        return;
      case "unknown":
        answerWithText(response, 404, USAGE);
        return;
      case "malformed":
        response.shouldKeepAlive = false;
        answerWithText(response, 400, `lacewing: ${target.reason}`);
        return;
      case "origin": {
        const pace = this.#paces.of(request.socket.remoteAddress);
        const isShared = hot !== undefined && !this.#forwarding.isOwned(request, target.url, rule);
        if (isShared && hot.give(response, pace, receivedAtMs)) return;
        this.#forwarding.forward({ request, response, received, target, rule, pace, receivedAtMs });
      }
    }
  }

  connect(request: IncomingMessage, client: Duplex, head: Buffer): void {
    client.on("error", () => client.destroy());
    const target = parseConnectTarget(request.url ?? "");
    const { connectPorts, connections, log } = this.#options;
    const problem = this.#admission.accessProblem(request, headersOfFlat(request.rawHeaders));
    if (problem !== undefined) {
      endWithText(client, problem.status, problem.reason, problem.headers);
      return;
    }
    if (target === undefined) {
      endWithText(client, 400, "CONNECT needs host:port");
      return;
    }
    const denial = connections.guard.problemOf(target.host, target.port);
    if (denial !== undefined) {
      endWithText(client, 403, denial);
    } else if (connectPorts !== undefined && !connectPorts.includes(target.port)) {
      const allowed = connectPorts.join(", ");
      endWithText(
        client,
        403,
        `CONNECT to port ${target.port} is not allowed; allowed: ${allowed}`,
      );
    } else if (client instanceof Socket) {
      this.#trackTunnel(client);
      this.#unshared.tell("connect_tunnel", target.host);
      const pace = this.#paces.of(client.remoteAddress);
      openTunnel({ client, head, ...target, connections, pace, log });
    }
  }

  upgrade(request: IncomingMessage, client: Duplex, head: Buffer): void {
    client.on("error", () => client.destroy());
    const received = headersOfFlat(request.rawHeaders);
    const page = isByPrefix(request.url) ? browserProblem(received, this.#names) : undefined;
    const target = parseRequestTarget(request.url ?? "");
    const rule = this.#ruleFor(target);
    const problem: AccessProblem | undefined =
      this.#admission.problemOf(request, received, target, rule) ?? page;
    if (problem !== undefined) {
      endWithText(client, problem.status, problem.reason, problem.headers);
    } else if (target.kind !== "origin") {
      endWithText(client, 400, "an upgrade needs an origin: use an absolute URL or /url/");
    } else if (hasBody(request)) {
      endWithText(client, 400, "an upgrade with a body is not supported");
    } else {
      const { connections, viaName, log } = this.#options;
      const url = ruledUrl(target.url, rule);
      const headers = headersToSend(request, received, target, viaName);
      this.#trackTunnel(client);
      const { path } = target;
      const pace = this.#paces.of(request.socket.remoteAddress);
      openUpgrade({ request, client, head, url, path, headers, connections, viaName, pace, log });
    }
  }

  /** Something that is no HTTP, or a head that is too long or too slow. */
  clientError(error: NodeJS.ErrnoException, socket: Duplex): void {
    const answers = [...(this.#answering.get(socket) ?? [])];
    // Text in the middle of an answer would become part of it.
    const isBetweenAnswers = answers.length <= 1 && answers.every((answer) => !answer.headersSent);
    if (error.code === "ECONNRESET" || !isBetweenAnswers) {
      socket.destroy();
    } else if (error.code === "HPE_HEADER_OVERFLOW") {
      endWithText(socket, 431, `the head is longer than ${REQUEST_HEAD_BYTES_MAX} bytes`);
    } else if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
      endWithText(socket, 408, `the head did not come within ${HEAD_TIMEOUT_MS} ms`);
    } else {
      const reason = "reason" in error ? String(error.reason) : error.message;
      endWithText(socket, 400, `not a valid HTTP request: ${reason}`);
    }
  }

  /** From now on each answer is the last on its connection. */
  beginClosing(): void {
    this.#isClosing = true;
    for (const answers of this.#answering.values()) {
      for (const answer of answers) answer.shouldKeepAlive = false;
    }
  }

  breakTunnels(): void {
    for (const tunnel of this.#tunnels) tunnel.destroy();
  }

  #ruleFor(target: RequestTarget): Rule | undefined {
    return target.kind === "origin" ? matchRule(this.#options.rules, target.url) : undefined;
  }

  #trackAnswer(socket: Duplex, response: ServerResponse): void {
    if (this.#isClosing) response.shouldKeepAlive = false;
    const answers = this.#answering.get(socket) ?? new Set();
    this.#answering.set(socket, answers.add(response));
    response.once("close", () => {
      answers.delete(response);
      if (answers.size === 0) this.#answering.delete(socket);
      // Its head was out before the closing began, so it promised to keep the connection.
      if (this.#isClosing && answers.size === 0 && response.shouldKeepAlive) socket.end();
    });
  }

  #trackTunnel(client: Duplex): void {
    this.#tunnels.add(client);
    client.once("close", () => this.#tunnels.delete(client));
  }
}
