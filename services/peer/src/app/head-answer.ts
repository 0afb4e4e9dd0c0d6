import { planResponse } from "../core/ranges.ts";
import { representationOf } from "./download-answers.ts";
import { type DownloadTarget, isBound } from "./download-target.ts";
import type { ClientRequest, DownloadAnswer, OriginClient, StoredTask } from "./ports.ts";

/** What a HEAD is told of held content, for a client that may read it. */
export function headOf(stored: StoredTask, request: ClientRequest): DownloadAnswer {
  const { status, headers, bodyLength } = planResponse({
    method: "HEAD",
    requestHeaders: request.headers,
    representation: representationOf(stored, []),
    boundary: "",
  });
  return { status, headers, body: undefined, bodyLength, ended: () => {} };
}

/** The origin's own answer to a HEAD: it costs no content, and only the origin knows whether this client may ask. */
export async function originHead(
  origin: OriginClient,
  request: ClientRequest,
  { url, path, rule }: DownloadTarget,
): Promise<DownloadAnswer> {
  const { headers: requestHeaders, signal } = request;
  const response = await origin.open(
    {
      method: "HEAD",
      url,
      path,
      headers: requestHeaders,
      range: undefined,
      ifRange: undefined,
      isAsItCame: isBound(request),
      useTls: rule.useTls,
    },
    signal,
  );
  const { status, headers, bodyLength } = response;
  return { status, headers, body: undefined, bodyLength, ended: () => response.discard() };
}
