import { type IncomingMessage, STATUS_CODES, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";

/** Shown for paths of the port that mean nothing: whoever sees it wanted to set the proxy up. */
export const USAGE = `This is the proxy port of Lacewing. It can be used
  as a forward proxy    curl -x http://THIS:PORT http://host/path
  by a URL prefix       curl http://THIS:PORT/url/https://host/path
  for Git LFS           git config url.http://THIS:PORT/url/https://STORAGE/.insteadOf https://STORAGE/
                        git config lfs.transfer.enablehrefrewrite true
/healthz says whether it is alive.
`;

/** Answers with a short text. Closes the connection when the request has a body that has not been read. */
export function answerWithText(
  response: ServerResponse,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = text.endsWith("\n") ? text : `${text}\n`;
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "content-length": Buffer.byteLength(body),
    ...headers,
    ...(isRead(response.req) ? {} : { connection: "close" }),
  });
  response.end(response.req.method === "HEAD" ? undefined : body);
}

/** Answers an OPTIONS that is meant for this proxy (RFC 9110 section 9.3.7). */
export function answerOptions(response: ServerResponse): void {
  response.writeHead(204, {
    allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT",
    ...(isRead(response.req) ? {} : { connection: "close" }),
  });
  response.end();
}

/** A request without content has nothing left to come, although the parser tells so only after its handler. */
function isRead({ complete, headers }: IncomingMessage): boolean {
  const length = Number(headers["content-length"] ?? 0);
  return complete || (length === 0 && headers["transfer-encoding"] === undefined);
}

/** {@link answerWithText} on a connection that has no `ServerResponse`; the connection ends with it. */
export function endWithText(
  socket: Duplex,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = `lacewing: ${text}\n`;
  const more = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${more.join("")}Content-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    // Nothing more is read from this client; without this a silent one would keep the connection half open.
    () => socket.destroy(),
  );
}

/** Whoever found all connections in use has waited already. */
const BUSY_RETRY_SECONDS = 5;

/** What a client is told when the origin could not be asked, or must not be: RFC 9110 sections 15.5.4, 15.6.3 to 15.6.5. */
export function gatewayFailure(error: unknown): {
  readonly status: 403 | 502 | 503 | 504;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
} {
  if (error instanceof PortError && error.code === "origin_denied") {
    return { status: 403, text: `lacewing: ${messageOf(error)}` };
  }
  if (error instanceof PortError && error.code === "origin_busy") {
    const headers = { "Retry-After": String(BUSY_RETRY_SECONDS) };
    return { status: 503, text: `lacewing: ${messageOf(error)}`, headers };
  }
  const isTimeout = error instanceof PortError && error.code.endsWith("_timeout");
  const text = error instanceof PortError ? messageOf(error) : "the request could not be answered";
  return { status: isTimeout ? 504 : 502, text: `lacewing: ${text}` };
}
