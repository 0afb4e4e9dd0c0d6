import type { Header } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { CliError } from "./cli-error.ts";

/** Headers that must not follow a redirect to another server. */
const CREDENTIAL_HEADERS: ReadonlySet<string> = new Set(["authorization", "cookie"]);
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** `Name: value` as curl's `-H` takes it; `undefined` when it is none. */
export function parseHeader(text: string): Header | undefined {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)$/.exec(text);
  return match?.[1] === undefined ? undefined : { name: match[1], value: (match[2] ?? "").trim() };
}

/** The last segment of the path, as a file name; `undefined` when it names none. */
export function fileNameOf(url: URL): string | undefined {
  const last = url.pathname.split("/").at(-1) ?? "";
  let name = last;
  try {
    name = decodeURIComponent(last);
  } catch {
    // Not percent-encoded text: taken as it is.
  }
  return name === "" || name === "." || name === ".." || /[/\\\0]/.test(name) ? undefined : name;
}

/** A request for content. */
export interface ContentRequest {
  readonly url: URL;
  readonly headers: readonly Header[];
}

/** The request that follows a redirect; `undefined` when the answer is none. */
export function redirected(
  request: ContentRequest,
  answer: { readonly httpStatus: number; readonly headers: readonly Header[] },
): ContentRequest | undefined {
  const location = answer.headers.find(({ name }) => name.toLowerCase() === "location")?.value;
  if (!REDIRECTS.has(answer.httpStatus) || location === undefined) return undefined;
  if (!URL.canParse(location, request.url.href)) return undefined;
  const url = new URL(location, request.url);
  const headers =
    url.origin === request.url.origin
      ? request.headers
      : request.headers.filter(({ name }) => !CREDENTIAL_HEADERS.has(name.toLowerCase()));
  return { url, headers };
}

/** Why an answer is no content, and what to do about it. */
export function refusalOf(
  httpStatus: number,
  headers: readonly Header[],
  url: URL,
): CliError | undefined {
  if (httpStatus >= 200 && httpStatus < 300) return undefined;
  const retryAfter = headers.find(({ name }) => name.toLowerCase() === "retry-after")?.value;
  return new CliError(
    `${url.host} answered ${httpStatus} for ${url.pathname}`,
    hintFor(httpStatus, retryAfter),
  );
}

function hintFor(httpStatus: number, retryAfter: string | undefined): string {
  if (httpStatus === 401 || httpStatus === 403)
    return "Pass what the server asks for, e.g. -H 'Authorization: Bearer …'; a signed URL may have run out.";
  if (httpStatus === 404 || httpStatus === 410) return "Check the URL.";
  if (httpStatus === 416) return "The content has no such range: check -H 'Range: …'.";
  if (httpStatus === 429 || httpStatus === 503)
    return `The server is busy: try again ${retryAfter === undefined ? "later" : `in ${retryAfter} s`}.`;
  if (httpStatus >= 500)
    return "The server, or the way to it, failed: try again, or try without Lacewing.";
  return "This is the server's own answer, passed on as it is.";
}
