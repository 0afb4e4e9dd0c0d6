import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { listenAnywhere } from "./http-proxy-world.ts";

/** One request as a strict reader understands it. */
export interface RecordedRequest {
  /** `GET /x HTTP/1.1` */
  readonly line: string;
  /** Names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

/** An origin that keeps every byte it gets, and answers each request that it understands. */
export interface RecordingOrigin {
  readonly port: number;
  /** Everything received, by connection, one character per byte. */
  readonly received: readonly string[];
  readonly requests: readonly RecordedRequest[];
  /** What no strict reader understands in one way. */
  readonly ambiguities: readonly string[];
  forget(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Every request is answered with its own line and body. */
export async function startRecordingOrigin(): Promise<RecordingOrigin> {
  const received: string[] = [];
  const requests: RecordedRequest[] = [];
  const ambiguities: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const index = received.push("") - 1;
    let rest = "";
    sockets.add(socket);
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (text: string) => {
      received[index] = (received[index] ?? "") + text;
      rest += text;
      for (let next = takeRequest(rest); next !== undefined; next = takeRequest(rest)) {
        if (typeof next === "string") {
          ambiguities.push(next);
          socket.destroy();
          return;
        }
        rest = next.rest;
        requests.push(next.request);
        const answer = `${next.request.line}|${next.request.body}`;
        socket.write(
          `HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`,
          "latin1",
        );
      }
    });
  });
  const port = await listenAnywhere(server);
  return {
    port,
    received,
    requests,
    ambiguities,
    forget: () => {
      received.length = 0;
      requests.length = 0;
      for (const socket of sockets) socket.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** The first whole request of a text, `undefined` while it is not complete, or what is ambiguous about it. */
function takeRequest(
  text: string,
): { readonly request: RecordedRequest; readonly rest: string } | string | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = text.slice(0, end);
  // eslint-disable-next-line no-control-regex
  if (/[^\r]\n|\r[^\n]|[\0\x0b\f]/.test(head))
    return `stray control characters: ${JSON.stringify(head)}`;
  const [line = "", ...written] = head.split("\r\n");
  const fields = written.map((field) => {
    const match = /^([!#$%&'*+.^_`|~0-9a-z-]+):[ \t]*(.*?)[ \t]*$/i.exec(field);
    return match === null ? undefined : ([(match[1] ?? "").toLowerCase(), match[2] ?? ""] as const);
  });
  const known = fields.filter((field) => field !== undefined);
  if (known.length !== fields.length) return `no field: ${JSON.stringify(head)}`;
  if (!/^[A-Z]+ \S+ HTTP\/1\.1$/.test(line)) return `no request line: ${JSON.stringify(line)}`;
  const valuesOf = (name: string) =>
    known.filter((field) => field[0] === name).map(([, value]) => value);
  const lengths = valuesOf("content-length");
  const codings = valuesOf("transfer-encoding");
  if (valuesOf("host").length !== 1) return `not one Host: ${JSON.stringify(head)}`;
  if (lengths.length + codings.length > 1) return `framed twice: ${JSON.stringify(head)}`;
  const after = text.slice(end + 4);
  if (codings.length === 1) {
    if (codings[0] !== "chunked") return `odd coding: ${JSON.stringify(codings[0])}`;
    const chunked = takeChunks(after);
    if (chunked === undefined || typeof chunked === "string") return chunked;
    return { request: { line, fields: known, body: chunked.body }, rest: chunked.rest };
  }
  const length = lengths[0] ?? "0";
  if (!/^\d+$/.test(length)) return `odd length: ${JSON.stringify(length)}`;
  if (after.length < Number(length)) return undefined;
  const body = after.slice(0, Number(length));
  return { request: { line, fields: known, body }, rest: after.slice(Number(length)) };
}

function takeChunks(
  text: string,
): { readonly body: string; readonly rest: string } | string | undefined {
  let body = "";
  for (let at = 0; ;) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd === -1) return undefined;
    const size = text.slice(at, lineEnd);
    if (!/^[0-9a-f]{1,8}$/i.test(size)) return `odd chunk size: ${JSON.stringify(size)}`;
    const start = lineEnd + 2;
    const length = Number.parseInt(size, 16);
    if (length === 0) {
      const end = text.indexOf("\r\n\r\n", lineEnd);
      if (text.startsWith("\r\n", start)) return { body, rest: text.slice(start + 2) };
      return end === -1 ? undefined : { body, rest: text.slice(end + 4) };
    }
    if (text.length < start + length + 2) return undefined;
    if (text.slice(start + length, start + length + 2) !== "\r\n") return "a chunk without its end";
    body += text.slice(start, start + length);
    at = start + length + 2;
  }
}
