import { planResponse } from "../core/ranges.ts";
import { representationOf } from "./download-answers.ts";
import { type DownloadTarget, isBound, mayServeUnasked } from "./download-target.ts";
import type {
  ClientRequest,
  DownloadAnswer,
  OriginClient,
  PieceStore,
  StoredTask,
} from "./ports.ts";

/**
 * From held content for a client whom the origin let have it at this very URL. A HEAD also asks whether the content is there: one
 * repository of a registry may lack what another has, though all may read it, and a client that is told otherwise does not upload it.
 */
export async function answerHead(
  options: { readonly store: PieceStore; readonly origin: OriginClient },
  request: ClientRequest,
  target: DownloadTarget,
  isGranted: boolean,
): Promise<DownloadAnswer> {
  const { store, origin } = options;
  const stored = target.anchoredTaskId === undefined ? undefined : store.get(target.anchoredTaskId);
  const known = stored !== undefined && stored.held.count > 0 ? stored : undefined;
  if (known !== undefined && isGranted) return headOf(known, request);
  try {
    return await originHead(origin, request, target);
  } catch (error) {
    if (known === undefined || !mayServeUnasked(target, request, error)) throw error;
    return headOf(known, request);
  }
}

/** What a HEAD is told of held content, for a client that may read it. */
function headOf(stored: StoredTask, request: ClientRequest): DownloadAnswer {
  const { status, headers, bodyLength } = planResponse({
    method: "HEAD",
    requestHeaders: request.headers,
    representation: representationOf(stored, []),
    boundary: "",
  });
  return { status, headers, body: undefined, bodyLength, ended: () => {} };
}

/** The origin's own answer to a HEAD: it costs no content, and only the origin knows whether this client may ask. */
async function originHead(
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
      client: request.client,
      useTls: rule.useTls,
    },
    signal,
  );
  const { status, headers, bodyLength } = response;
  return { status, headers, body: undefined, bodyLength, ended: () => response.discard() };
}
