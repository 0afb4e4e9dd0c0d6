import type { IncomingMessage } from "node:http";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import type { OriginResponse } from "../../app/ports.ts";
import { isRequestPath, pathOf, writtenPathOf } from "@lacewing/contracts/url-parts.ts";
import { type ContentOf, contentOf, responseOf } from "./origin-answer.ts";
import { readBody } from "./origin-body.ts";

/** Redirects followed for one request: hubs and registries need two. */
const REDIRECT_COUNT_MAX = 5;
/** A redirect's own body is read to keep its connection when it is no longer than this. */
const REDIRECT_BODY_BYTES_MAX = 64 * 1024;

const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Answers that ask for credentials, which are a client's own. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 407]);
/**
 * Errors that say something about the content or the moment, whoever asks: a condition or range that does not fit, and that the
 * server wants to be left alone.
 */
const SAME_FOR_ALL: ReadonlySet<number> = new Set([412, 416, 429, 503]);

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
  // Node reads each byte as a letter of its own; a URL would encode that letter, not the byte.
  const location = field.replace(/[\u0080-\u00ff]/g, percentEncoded);
  const url = URL.parse(location, from.href);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  const isDowngrade = url.protocol === "http:" && from.protocol === "https:";
  if (isDowngrade && asked.protocol === "https:") return undefined;
  url.hash = "";
  url.username = "";
  url.password = "";
  return { url, path: pathAsWritten(location, url) };
}

/** @param byte a letter for a byte above 0x7f. */
function percentEncoded(byte: string): string {
  return `%${byte.charCodeAt(0).toString(16).toUpperCase()}`;
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

/** A redirect that is followed, kept until it is known whether its client has to follow it itself. */
class KeptRedirect {
  readonly message: IncomingMessage;
  readonly content: ContentOf;
  readonly #isRead: boolean;

  constructor(message: IncomingMessage, url: URL, signal: AbortSignal) {
    this.message = message;
    message.on("error", () => {});
    const length = Number(message.headers["content-length"] ?? Number.NaN);
    this.#isRead = length <= REDIRECT_BODY_BYTES_MAX;
    if (!this.#isRead) {
      this.content = contentOf(message, url, signal);
      return;
    }
    // A short one is read at once: its connection is free for the next request then.
    const whole = wholeOf(readBody({ message, url, expectedBytes: length, signal }).body);
    whole.catch(() => undefined);
    this.content = () => ({ body: chunkOf(whole), discard: () => {} });
  }

  drop(): void {
    if (!this.#isRead) this.message.destroy();
  }
}

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
  /** What clients that keep cookies would show; `host`: of the server that set it. */
  readonly #cookies: { readonly host: string; readonly domain: string | undefined }[] = [];
  #first: KeptRedirect | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Notes a redirect. @returns whether it may be followed in its client's place. */
  follow(message: IncomingMessage, from: Asked, to: Asked): boolean {
    for (const cookie of message.headers["set-cookie"] ?? []) {
      const domain = /;\s*domain\s*=\s*"?\.?([^;"\s]+)/i.exec(cookie)?.[1]?.toLowerCase();
      this.#cookies.push({ host: from.url.hostname, domain });
    }
    this.#seen.add(keyOf(from));
    const isCircle = this.#seen.has(keyOf(to)) || this.#seen.size > REDIRECT_COUNT_MAX;
    const redirect = new KeptRedirect(message, from.url, this.#signal);
    if (this.#first === undefined) this.#first = redirect;
    else redirect.drop();
    return !isCircle && !this.#isShownCookie(to.url.hostname);
  }

  /** Whether the answer at the end is one that its client, who has credentials of its own, need not have got. */
  isForClient(status: number, isElsewhere: boolean): boolean {
    if (this.#first === undefined) return false;
    if (REFUSALS.has(status)) return true;
    const isError = status >= 400 && !SAME_FOR_ALL.has(status);
    return isElsewhere && (isError || REDIRECT_STATUS.has(status));
  }

  /** The redirect that the asked server sent, as it was: its client makes its own way. */
  handOn(method: "GET" | "HEAD"): OriginResponse {
    if (this.#first === undefined) throw new InvariantViolation("no redirect to hand on");
    const { message, content } = this.#first;
    return responseOf({ message, carried: new Map(), content, isElsewhere: false, method });
  }

  /** An answer that nobody gets. */
  leave(message: IncomingMessage, url: URL): void {
    new KeptRedirect(message, url, this.#signal).drop();
  }

  /** Its client need not know of any redirect. */
  drop(): void {
    this.#first?.drop();
  }

  /** RFC 6265 section 5.1.3; paths and times are left to the client. */
  #isShownCookie(host: string): boolean {
    return this.#cookies.some(
      (cookie) =>
        host === cookie.host ||
        (cookie.domain !== undefined && `.${host}`.endsWith(`.${cookie.domain}`)),
    );
  }
}

function keyOf({ url, path }: Asked): string {
  return `${url.origin}${path}`;
}
