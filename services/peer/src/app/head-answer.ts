import type { DownloadTarget } from "./download-target.ts";
import type { ClientRequest, DownloadAnswer, OriginClient } from "./ports.ts";

/** HEAD is the origin's to answer: it costs no content, and only the origin knows whether this client may ask. */
export async function answerHead(
  origin: OriginClient,
  request: ClientRequest,
  { url, rule }: DownloadTarget,
): Promise<DownloadAnswer> {
  const { headers: requestHeaders, signal } = request;
  const response = await origin.open(
    {
      method: "HEAD",
      url,
      headers: requestHeaders,
      range: undefined,
      ifRange: undefined,
      useTls: rule.useTls,
    },
    signal,
  );
  const { status, headers, bodyLength } = response;
  return { status, headers, body: undefined, bodyLength, ended: () => response.discard() };
}
