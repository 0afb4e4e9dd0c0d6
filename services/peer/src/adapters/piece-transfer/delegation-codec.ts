import { Delegation as DelegationMessage } from "@lacewing/contracts/gen/lacewing/peer/v1/delegation.ts";
import { parseDigest, parseTaskId } from "@lacewing/contracts/ids.ts";
import { CLOCK_SKEW_MS_MAX } from "@lacewing/contracts/lease-token.ts";
import { TEXT_LENGTH_MAX } from "@lacewing/contracts/limits.ts";
import { type Delegation, DELEGATION_MS, type ReceivedDelegation } from "../../app/delegations.ts";
import { HEADER_COUNT_MAX } from "../../core/http-headers.ts";
import { pathOf, writtenPathOf } from "@lacewing/contracts/url-parts.ts";

/** A sealed delegation: a request head of 32 KiB and a URL of 16 KiB, with room for the rest. */
export const DELEGATION_BYTES_MAX = 96 * 1024;

/** RFC 9110 section 5.1 and 5.5: nothing that ends a line or is no name. */
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const HOST_ID = /^[A-Za-z0-9_-]{1,64}$/;
/** The least urgent priority that a rule can give; see the scheduler's policy. */
const PRIORITY_MAX = 6;

export function encodeDelegation(delegation: Delegation, nowMs: number): Uint8Array {
  const { taskId, fromHostId, means, etag, shown } = delegation;
  const { url: shownUrl, ...rest } = shown;
  return DelegationMessage.encode({
    taskId,
    fromHostId,
    expiresAtMs: Math.round(nowMs) + DELEGATION_MS,
    url: means.path === undefined ? means.url.href : `${means.url.origin}${means.path}`,
    headers: means.headers.map(([name, value]) => ({ name, value })),
    useTls: means.useTls === "auto" ? "auto" : means.useTls ? "always" : "never",
    etag,
    shownUrl,
    ...rest,
  }).finish();
}

/** What a host of the cluster said, checked field by field; why not, otherwise. The reasons hold nothing of it. */
export function decodeDelegation(bytes: Uint8Array, nowMs: number): ReceivedDelegation | string {
  let message: DelegationMessage;
  try {
    message = DelegationMessage.decode(bytes);
  } catch {
    return "it is no delegation";
  }
  const { fromHostId, expiresAtMs, headers, etag, useTls } = message;
  const { shownUrl, sharingDomain, anchor, tag, application, priority } = message;
  const taskId = parseTaskId(message.taskId);
  const url = URL.parse(message.url);
  if (taskId === undefined) return "its task id is malformed";
  if (!HOST_ID.test(fromHostId)) return "its sender is malformed";
  if (expiresAtMs + CLOCK_SKEW_MS_MAX < nowMs) return "its time is over";
  if (expiresAtMs - CLOCK_SKEW_MS_MAX > nowMs + DELEGATION_MS) return "it is to last too long";
  if (url === null || !/^https?:$/.test(url.protocol) || url.username + url.password !== "") {
    return "its URL is not http or https";
  }
  if (headers.length > HEADER_COUNT_MAX) return "it has too many header fields";
  if (!headers.every(({ name, value }) => HEADER_NAME.test(name) && HEADER_VALUE.test(value))) {
    return "a header field is malformed";
  }
  if (!HEADER_VALUE.test(etag)) return "its validator is malformed";
  if (useTls !== "auto" && useTls !== "always" && useTls !== "never") return "useTls is unknown";
  const texts = [shownUrl, sharingDomain, tag, application, etag];
  if (texts.some((text) => text.length > TEXT_LENGTH_MAX)) return "a text is too long";
  if (anchor !== "" && parseDigest(anchor) === undefined) return "its anchor is malformed";
  if (priority > PRIORITY_MAX) return "its priority is out of range";
  const written = writtenPathOf(message.url);
  return {
    taskId,
    fromHostId,
    expiresAtMs,
    means: {
      url,
      path: written === pathOf(url) ? undefined : written,
      headers: headers.map(({ name, value }) => [name, value] as const),
      useTls: useTls === "auto" ? "auto" : useTls === "always",
    },
    etag,
    shown: { url: shownUrl, sharingDomain, anchor, tag, application, priority },
  };
}
