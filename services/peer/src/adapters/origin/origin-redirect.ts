import type { IncomingMessage } from "node:http";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import type { OriginResponse } from "../../app/ports.ts";
import { withoutHeaders } from "../../core/http-headers.ts";
import {
  isRequestPath,
  pathOf,
  withBytesEncoded,
  writtenPathOf,
} from "@lacewing/contracts/url-parts.ts";
import { type ContentOf, responseOf } from "./origin-answer.ts";
import { readBody } from "./origin-body.ts";

/** Redirects followed for one request: hubs and registries need two. */
const REDIRECT_COUNT_MAX = 5;
/** A redirect's own body is read to keep its connection when it is no longer than this. */
const REDIRECT_BODY_BYTES_MAX = 64 * 1024;

const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Answers that ask for credentials, which are a client's own. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 407]);
/** Where a request goes. */
export interface Asked {
  readonly url: URL;
  /** Path and query as they were written. */
  readonly path: string;
}

/**
 * Where an answer sends us, or `undefined` when it is to be handed on as it is: it is no redirect, its target is no http(s) URL,
 * or it would take a client that asked by https to plain http.
 *
 * @param asked what the client asked for.
 */
export function redirectTarget(message: IncomingMessage, from: URL, asked: URL): Asked | undefined {
  const field = message.headers.location;
  if (!REDIRECT_STATUS.has(message.statusCode ?? 0) || field === undefined) return undefined;
  const location = withBytesEncoded(field);
  const url = URL.parse(location, from.href);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  const isDowngrade = url.protocol === "http:" && from.protocol === "https:";
  if (isDowngrade && asked.protocol === "https:") return undefined;
  url.hash = "";
  url.username = "";
  url.password = "";
  return { url, path: pathAsWritten(location, url) };
}

/** `/.`, `/..` and their encoded forms, which a client resolves before it follows a redirect. */
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;

/** Signed links come by redirect, so they are asked for to the letter, unless they have to be resolved first. */
function pathAsWritten(location: string, url: URL): string {
  const isPath = location.startsWith("/") && !location.startsWith("//");
  const written = writtenPathOf(isPath ? `${url.origin}${location}` : location);
  const isResolved = written === undefined || DOT_SEGMENT.test(written.split("?", 1)[0] ?? "");
  return isResolved ? pathOf(url) : written;
}

/** What a request asks for; a path that must not stand in the first line of one gives way to its encoded form. */
export function askedBy(request: { readonly url: URL; readonly path?: string | undefined }): Asked {
  const { url, path } = request;
  return { url, path: path !== undefined && isRequestPath(path) ? path : pathOf(url) };
}

/** What of a redirect's answer is about its body. */
const ABOUT_BODY: ReadonlySet<string> = new Set([
  "content-length",
  "content-encoding",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
]);

/**
 * A redirect that is followed, kept until it is known whether its client has to follow it itself. Nothing of it is left on its connection,
 * which the next request may need: a body that is not short is given up.
 */
class KeptRedirect {
  readonly #message: IncomingMessage;
  /** `undefined`: it was given up. */
  readonly #body: Promise<Uint8Array> | undefined;

  constructor(message: IncomingMessage, url: URL, signal: AbortSignal) {
    this.#message = message;
    message.on("error", () => {});
    const length = Number(message.headers["content-length"] ?? Number.NaN);
    if (length <= REDIRECT_BODY_BYTES_MAX) {
      this.#body = wholeOf(readBody({ message, url, expectedBytes: length, signal }).body);
      this.#body.catch(() => undefined);
    } else message.destroy();
  }

  answer(method: "GET" | "HEAD"): OriginResponse {
    const [message, body] = [this.#message, this.#body];
    const content: ContentOf = (expectedBytes) => ({
      body: body === undefined || expectedBytes === 0 ? noBody() : chunkOf(body),
      discard: () => {},
    });
    const answer = { message, carried: new Map(), content, isElsewhere: false, method };
    const response = responseOf(answer);
    if (body !== undefined) return response;
    return { ...response, headers: withoutHeaders(response.headers, ABOUT_BODY), bodyLength: 0 };
  }
}

async function* noBody(): AsyncGenerator<Uint8Array> {}

async function wholeOf(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  // A chunk is good until the one after the next is asked for.
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function* chunkOf(whole: Promise<Uint8Array>): AsyncGenerator<Uint8Array> {
  const chunk = await whole;
  if (chunk.length > 0) yield chunk;
}

/** The redirects that were followed for one request, and whether its client would have got elsewhere by itself. */
export class RedirectChain {
  readonly #signal: AbortSignal;
  readonly #seen = new Set<string>();
  #first: KeptRedirect | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Notes a redirect. @returns whether it may be followed in its client's place: in a circle it would be, with a cookie that it sets. */
  follow(message: IncomingMessage, from: Asked, to: Asked): boolean {
    this.#seen.add(keyOf(from));
    const redirect = new KeptRedirect(message, from.url, this.#signal);
    this.#first ??= redirect;
    return !this.#seen.has(keyOf(to)) && this.#seen.size <= REDIRECT_COUNT_MAX;
  }

  /** Whether the answer at the end is one that its client, who has credentials of its own, need not have got. */
  isForClient(status: number, isElsewhere: boolean): boolean {
    if (this.#first === undefined) return false;
    return REFUSALS.has(status) || (isElsewhere && REDIRECT_STATUS.has(status));
  }

  /** The redirect that the asked server sent, as it was: its client makes its own way. */
  handOn(method: "GET" | "HEAD"): OriginResponse {
    if (this.#first === undefined) throw new InvariantViolation("no redirect to hand on");
    return this.#first.answer(method);
  }
}

function keyOf({ url, path }: Asked): string {
  return `${url.origin}${path}`;
}
