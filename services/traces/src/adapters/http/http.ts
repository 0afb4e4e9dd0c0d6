import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
} from "node:http";
import type { Log } from "@lacewing/observability/log.ts";
import type { SocketAddress } from "@lacewing/runtime/settings.ts";

/** A request's head must come in this time. */
const HEADERS_TIMEOUT_MS = 10_000;
/** A whole request must come in this time. */
const REQUEST_TIMEOUT_MS = 30_000;
const CONNECTION_COUNT_MAX = 1000;

/** What a handler answers. */
export interface Answer {
  readonly status: number;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Uint8Array;
}

/** The request cannot be answered as asked; the message is shown to whoever asked. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface ListeningServer {
  /** `host:port`, with the port that was taken. */
  readonly address: string;
  /** Takes no more connections, lets answers under way finish for at most a second, and closes. */
  close(): Promise<void>;
}

/** How long a close waits for answers under way. */
const CLOSE_GRACE_MS = 1000;

/**
 * Serves HTTP with one handler. `onError` turns what it threw into an answer in the server's own format; the connection survives.
 */
export async function listen(
  address: SocketAddress,
  handle: (request: IncomingMessage) => Promise<Answer>,
  onError: (error: unknown) => Answer,
  log: Log,
): Promise<ListeningServer> {
  const server = createServer({
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
  });
  server.maxConnections = CONNECTION_COUNT_MAX;
  server.on("request", (request, response) => {
    response.on("error", () => {});
    handle(request)
      .catch((error: unknown) => onError(error))
      .then((answer) => send(request, response, answer))
      .catch((error: unknown) => {
        log.error("answer failed", { path: request.url, error });
        response.destroy();
      });
  });
  server.listen(address.port, address.host);
  await once(server, "listening");
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return {
    address: `${host}:${port}`,
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      const cutOff = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
      await closed;
      clearTimeout(cutOff);
    },
  };
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = answer.body ?? "";
  response.writeHead(answer.status, {
    "content-length": Buffer.byteLength(body),
    "x-content-type-options": "nosniff",
    // A body that was not read to its end would be taken for the next request.
    ...(request.complete ? {} : { connection: "close" }),
    ...answer.headers,
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

export function jsonAnswer(status: number, value: unknown): Answer {
  return {
    status,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(value),
  };
}

/**
 * The request's body.
 *
 * @throws {RequestError} 413 when it is longer than the limit.
 */
export async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const tooLong = () => new RequestError(413, `the body is longer than ${bytesMax} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) throw tooLong();
  const chunks: Buffer[] = [];
  let byteCount = 0;
  // The stream is not destroyed on the way out: the answer must still reach the sender.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (!Buffer.isBuffer(chunk)) throw new RequestError(400, "the body is not bytes");
    byteCount += chunk.length;
    if (byteCount > bytesMax) throw tooLong();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
