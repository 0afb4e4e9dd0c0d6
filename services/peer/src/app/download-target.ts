import { type Digest, type Sha256Hex, type TaskId, taskIdOf } from "@lacewing/contracts/ids.ts";
import { TEXT_LENGTH_MAX } from "@lacewing/contracts/limits.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { CONDITIONS, isConditional } from "../core/conditions.ts";
import { showsConnectionCredentials } from "../core/connection-auth.ts";
import { credentialsIn, isBoundToRequest } from "../core/credentials.ts";
import { headerItems, headerOf, withoutHeaders } from "../core/http-headers.ts";
import {
  anchorFromHeaders,
  anchorFromUrl,
  canonicalUrl,
  contentLengthOf,
  type ShareRefusal,
  sharingDomainOf,
  strongValidatorOf,
  taskKey,
  urlWithoutSecrets,
  whyNotShareable,
} from "../core/identity.ts";
import { pieceLengthOf } from "@lacewing/contracts/piece-length.ts";
import type { Rule } from "../core/rules.ts";
import { partsOf, writtenParts } from "@lacewing/contracts/url-parts.ts";
import type { OriginMeans } from "./origin-access.ts";
import type { ClientRequest, HeaderList, OriginResponse, TaskDescription } from "./ports.ts";
import { redirectedUrl } from "./redirected-url.ts";

/** Not sent with an opening request: ranges and conditions are answered here, from the content itself. */
const OPENING_OMITS: ReadonlySet<string> = new Set(["range", "if-range", ...CONDITIONS]);

/** What a URL says by itself, by the rule that it matches: which content, and whose. */
export interface NamedContent {
  readonly url: URL;
  /** For events, logs and traces. */
  readonly shownUrl: string;
  readonly canonicalUrl: string;
  readonly sharingDomain: string;
  /** Known before the origin is asked, because the URL names it. */
  readonly anchor: Digest | undefined;
  /** The task of that content. */
  readonly anchoredTaskId: TaskId | undefined;
}

/** What a client's request is about: which content, whose, and with what credentials. */
export interface DownloadTarget extends NamedContent {
  readonly rule: Rule;
  /** Path and query as they are asked for; `undefined`: those of the URL. */
  readonly path: string | undefined;
  /** Names who asks for what: the origin's yes to it may be remembered. Holds no secret itself. */
  readonly accessKey: string;
  /** The client's headers for an opening request. */
  readonly openingHeaders: HeaderList;
}

/** @param named what the same URL says by the same rule, when that is known already. */
export function targetOf(
  request: Pick<ClientRequest, "url" | "path" | "headers">,
  rule: Rule,
  sha256: Sha256Hex,
  named: NamedContent = namedBy(request, rule, sha256),
): DownloadTarget {
  const { url, shownUrl, canonicalUrl: canonical, sharingDomain, anchor, anchoredTaskId } = named;
  const credential = [
    url.username,
    url.password,
    // A signature is a credential: content that one signature opened is not open to another.
    writtenParts(url, request.path).search,
    ...credentialsIn(request.headers),
  ];
  return {
    url,
    path: request.path,
    rule,
    shownUrl,
    canonicalUrl: canonical,
    sharingDomain,
    anchor,
    anchoredTaskId,
    accessKey: sha256(
      [canonical, ...credential].map((field) => `${field.length}:${field}`).join(""),
    ),
    openingHeaders: withoutHeaders(request.headers, OPENING_OMITS),
  };
}

/** With which the origin is asked for a target. */
export function meansOf({ url, path, openingHeaders, rule }: DownloadTarget): OriginMeans {
  return { url, path, headers: openingHeaders, useTls: rule.useTls };
}

function namedBy(
  asked: Pick<ClientRequest, "url" | "path">,
  rule: Rule,
  sha256: Sha256Hex,
): NamedContent {
  const url = redirectedUrl(asked.url, rule);
  const parts = partsOf(url);
  // Named by what the origin is asked for: to a store of objects `a/./b` is another one than `a/b`.
  const written = writtenParts(parts, asked.path);
  const sharingDomain = sharingDomainOf(parts, rule);
  const anchor = anchorFromUrl(written);
  return {
    url,
    shownUrl: urlWithoutSecrets(parts).slice(0, TEXT_LENGTH_MAX),
    canonicalUrl: canonicalUrl(written, rule),
    sharingDomain,
    anchor,
    anchoredTaskId:
      anchor === undefined ? undefined : taskIdOf(sharingDomain, ["anchor", anchor], sha256),
  };
}

/** Whether the client surely takes the whole content: it asked for no part, and its conditions cannot spare it the content. */
export function wantsWhole({ headers }: ClientRequest): boolean {
  return headerOf(headers, "range") === undefined && !isConditional(headers);
}

/**
 * Why nothing is kept of an answer, so that it cannot be shared: the client wants that (RFC 9111 section 5.2.1.5; what is held may be
 * used), or it shows what an origin takes for the credentials of a connection, or of this one request.
 */
export function whyNotKept(request: ClientRequest): string | undefined {
  const { headers } = request;
  if (showsConnectionCredentials(headers)) return "connection_credentials";
  if (isBound(request)) return "credentials_of_one_request";
  const wishes = headerItems(headers, "cache-control").map((item) => item.toLowerCase());
  return wishes.includes("no-store") ? "no_store_asked" : undefined;
}

/** Whether the origin can be asked in the client's name only by the client's own request, as it came. */
export function isBound({ headers, url }: ClientRequest): boolean {
  return isBoundToRequest(headers, url);
}

/** Whether held content is served although the origin could not be asked: only what is named by a digest cannot be stale. */
export function mayServeUnasked(
  { rule, anchor }: DownloadTarget,
  { signal }: ClientRequest,
  error: unknown,
): boolean {
  const isAllowed = rule.whenOriginDown === "serve" && anchor !== undefined;
  return isAllowed && !signal.aborted && error instanceof PortError;
}

/** Whether an answer tells of the origin's own state, and nothing of whether this client may have the content. */
export function isUnable({ status }: OriginResponse): boolean {
  return status === 429 || status >= 500;
}

/** What the origin's opening answer makes of a target. */
export type Described =
  | { readonly kind: "task"; readonly description: TaskDescription }
  | { readonly kind: "not_shareable"; readonly reason: ShareRefusal | "empty" };

export function describe(
  target: DownloadTarget,
  response: OriginResponse,
  nowMs: number,
  sha256: Sha256Hex,
): Described {
  const anchor = target.anchor ?? anchorFromHeaders(target.url, response);
  const reason = whyNotShareable(response, anchor !== undefined);
  if (reason !== undefined) return { kind: "not_shareable", reason };
  const lengthBytes = contentLengthOf(response);
  const validator = strongValidatorOf(response.headers);
  // A text beyond the limit would have every event that carries it refused.
  const etag = (validator?.length ?? 0) > TEXT_LENGTH_MAX ? undefined : validator;
  const key = taskKey({ anchor, canonicalUrl: target.canonicalUrl, strongValidator: etag });
  if (lengthBytes === undefined) return { kind: "not_shareable", reason: "length_unknown" };
  if (key === undefined) return { kind: "not_shareable", reason: "no_identity" };
  if (lengthBytes === 0) return { kind: "not_shareable", reason: "empty" };
  return {
    kind: "task",
    description: {
      taskId: target.anchoredTaskId ?? taskIdOf(target.sharingDomain, key, sha256),
      url: target.shownUrl,
      sharingDomain: target.sharingDomain,
      anchor,
      lengthBytes,
      pieceLengthBytes: pieceLengthOf(lengthBytes),
      etag: etag ?? "",
      lastModified: shortText(response.header("last-modified")),
      contentType: shortText(response.header("content-type")),
      createdAtMs: Math.round(nowMs),
    },
  };
}

function shortText(text: string | undefined): string {
  return text === undefined || text.length > TEXT_LENGTH_MAX ? "" : text;
}
