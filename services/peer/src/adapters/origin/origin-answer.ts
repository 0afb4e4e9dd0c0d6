import type { IncomingMessage } from "node:http";
import type { OriginResponse } from "../../app/ports.ts";
import {
  endToEndHeaders,
  type HeaderList,
  headerOf,
  headersOfFlat,
  withoutHeaders,
} from "../../core/http-headers.ts";
import { NAMES_DIGEST } from "../../core/identity.ts";
import { readBody } from "./origin-body.ts";

/** What a hub or registry says about content when it redirects to the storage that sends it; the storage does not repeat it. */
export const CARRIED_OVER_REDIRECTS = [...NAMES_DIGEST, "x-linked-size", "x-repo-commit"] as const;
/** Not believed when another server than the one that was asked says it: its word would name content of the asked one's. */
const ONLY_OF_THE_ASKED: ReadonlySet<string> = new Set(CARRIED_OVER_REDIRECTS);

/** An answer's body and the way to break it off. @param expectedBytes `undefined`: the framing alone says where it ends. */
export type ContentOf = (
  expectedBytes: number | undefined,
) => Pick<OriginResponse, "body" | "discard">;

/** The body of a message that nobody reads yet. */
export function contentOf(message: IncomingMessage, url: URL, signal: AbortSignal): ContentOf {
  return (expectedBytes) => readBody({ message, url, expectedBytes, signal });
}

/** A message as the port tells of it. @param carried said before by the server that was asked. */
export function responseOf(answer: {
  readonly message: IncomingMessage;
  readonly carried: ReadonlyMap<string, string>;
  readonly content: ContentOf;
  readonly isElsewhere: boolean;
  readonly method: "GET" | "HEAD";
}): OriginResponse {
  const { message, carried, content, isElsewhere, method } = answer;
  const all = endToEndHeaders(headersOfFlat(message.rawHeaders));
  const own = isElsewhere ? withoutHeaders(all, ONLY_OF_THE_ASKED) : all;
  const added = [...carried].filter(([name]) => headerOf(own, name) === undefined);
  const headers: HeaderList = [...own, ...added];
  const length = /^\d{1,16}$/.exec(message.headers["content-length"] ?? "")?.[0];
  const bodyLength = length === undefined ? undefined : Number(length);
  const hasBody = method === "GET" && message.statusCode !== 304 && message.statusCode !== 204;
  return {
    status: message.statusCode ?? 0,
    headers,
    isElsewhere,
    header: (name) => headerOf(headers, name),
    bodyLength,
    ...content(hasBody ? bodyLength : 0),
  };
}
