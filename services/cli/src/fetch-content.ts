import type {
  Header,
  Opened,
  Progress,
} from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { CliError } from "./cli-error.ts";
import type { DownloadBar } from "./download-bar.ts";
import { type ContentRequest, redirected, refusalOf } from "./http-answer.ts";
import type { ContentSink } from "./part-file.ts";
import type { PeerClient } from "./peer-client.ts";
import { NO_TRAFFIC } from "./traffic-text.ts";

/** As many as browsers follow; more is a loop. */
const REDIRECT_COUNT_MAX = 20;

/** A download that is whole. */
export interface Fetched {
  readonly url: string;
  readonly httpStatus: number;
  /** Empty when the content did not become a task. */
  readonly taskId: string;
  readonly bytes: number;
  readonly traffic: Progress;
  readonly costMs: number;
  readonly traceId: string;
}

/**
 * Downloads through a host into the sink that `openSink` makes once there is content; follows redirects that the host
 * hands on.
 *
 * @throws {CliError} when the answer is no content or the transfer is not whole; the sink has been discarded then.
 */
export async function fetchContent(
  client: PeerClient,
  request: ContentRequest,
  ways: {
    readonly openSink: () => Promise<ContentSink>;
    readonly bar: DownloadBar;
    readonly signal: AbortSignal;
  },
): Promise<Fetched> {
  let current = request;
  for (let redirectCount = 0; redirectCount <= REDIRECT_COUNT_MAX; redirectCount++) {
    const result = await fetchOnce(client, current, ways);
    if (!("next" in result)) return result;
    current = result.next;
  }
  throw new CliError(
    `${request.url.host} redirects more than ${REDIRECT_COUNT_MAX} times`,
    "Check the URL.",
  );
}

async function fetchOnce(
  client: PeerClient,
  request: ContentRequest,
  ways: Parameters<typeof fetchContent>[2],
): Promise<Fetched | { readonly next: ContentRequest }> {
  let sink: ContentSink | undefined;
  let opened: Opened | undefined;
  let received = 0;
  let traffic = NO_TRAFFIC;
  const call = { url: request.url.href, headers: [...request.headers] satisfies Header[] };
  try {
    for await (const { kind } of client.download(call, ways.signal)) {
      switch (kind?.$case) {
        case "opened": {
          opened = kind.value;
          const next = redirected(request, opened);
          if (next !== undefined) return { next };
          const refusal = refusalOf(opened.httpStatus, opened.headers, request.url);
          if (refusal !== undefined) throw refusal;
          sink = await ways.openSink();
          ways.bar.begin(opened.lengthBytes);
          break;
        }
        case "content":
          await sink?.write(kind.value);
          received += kind.value.length;
          ways.bar.update(received, traffic);
          break;
        case "progress":
          traffic = kind.value;
          break;
        case "done": {
          if (sink === undefined || opened === undefined) throw brokenOff(received, 0);
          const { lengthBytes, httpStatus, taskId } = opened;
          if (lengthBytes > 0 && lengthBytes !== received) throw brokenOff(received, lengthBytes);
          await sink.finish();
          sink = undefined;
          const { costMs, traceId, total = traffic } = kind.value;
          return {
            url: call.url,
            httpStatus,
            taskId,
            bytes: received,
            traffic: total,
            costMs,
            traceId,
          };
        }
        case undefined:
          break; // a newer service tells more than we know
      }
    }
    throw brokenOff(received, opened?.lengthBytes ?? 0);
  } finally {
    ways.bar.end();
    await sink?.discard();
  }
}

function brokenOff(receivedBytes: number, lengthBytes: number): CliError {
  const whole = lengthBytes === 0 ? "" : ` of ${lengthBytes}`;
  return new CliError(
    `the transfer broke off after ${receivedBytes}${whole} bytes`,
    "Try again: what the host holds by now is not fetched twice.",
  );
}
