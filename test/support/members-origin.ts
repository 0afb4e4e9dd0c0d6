import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { answerToRange } from "./byte-range.ts";
import { startOrigin } from "./http-proxy-world.ts";

/** A file of a server that lets only its members read. */
export interface MembersFile {
  readonly bytes: Buffer;
  /** On top of length and ranges; `etag` as well, when it is not to be made of the bytes. Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Who may read; others are refused with the {@link REFUSAL}. Default: everybody. */
  readonly isMember?: (request: IncomingMessage) => boolean;
  /** Answers in place of the file. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => void;
}

/** What those get who may not read: the server's own words, which nobody else could have made up. */
export const REFUSAL = {
  status: 403,
  header: "members only",
  body: '{"message":"this file is for members of the server"}',
} as const;

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface MembersOrigin {
  readonly url: string;
  readonly files: Map<string, MembersFile>;
  /** Requests since the last call. */
  takeSeen(): readonly SeenRequest[];
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts one with no files, on a free loopback port. @param host name under which it is asked, e.g. `members.localhost`. */
export async function startMembersOrigin(host: string): Promise<MembersOrigin> {
  const files = new Map<string, MembersFile>();
  let seen: SeenRequest[] = [];
  const server = await startOrigin((request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    const { method = "" } = request;
    const { range, authorization } = request.headers;
    seen.push({ method, path, range, authorization });
    const file = files.get(path);
    if (file === undefined) response.writeHead(404).end("no such file\n");
    else if (file.isMember?.(request) === false) refuse(response);
    else if (file.answer === undefined) answer(request, response, file);
    else file.answer(request, response);
  });
  return {
    url: `http://${host}:${server.port}`,
    files,
    takeSeen: () => {
      const taken = seen;
      seen = [];
      return taken;
    },
    [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose](),
  };
}

function refuse(response: ServerResponse): void {
  response
    .writeHead(REFUSAL.status, { "content-type": "application/json", "x-reason": REFUSAL.header })
    .end(REFUSAL.body);
}

function answer(request: IncomingMessage, response: ServerResponse, file: MembersFile): void {
  const { bytes } = file;
  const etag = `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`;
  const headers = { "content-type": "application/octet-stream", etag, ...file.headers };
  const range = answerToRange(request.headers.range, bytes.length);
  if (range.kind === "unsatisfiable") {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  const { start, end } = range.kind === "part" ? range.range : { start: 0, end: bytes.length - 1 };
  const part = bytes.subarray(start, end + 1);
  response.writeHead(range.kind === "part" ? 206 : 200, {
    ...headers,
    "content-length": part.length,
    ...(range.kind === "part" ? { "content-range": `bytes ${start}-${end}/${bytes.length}` } : {}),
  });
  response.end(request.method === "HEAD" ? undefined : part);
}
