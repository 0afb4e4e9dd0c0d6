import { ASSIGN_TIMEOUT_MS } from "@lacewing/contracts/limits.ts";
import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { BUSY_WAIT_COUNT_MAX } from "./answer-watch.ts";
import type { DownloadServices } from "./download-services.ts";
import type { ExpectedClient, HeldPlace } from "./expected-client.ts";
import type { StoredTask } from "./ports.ts";

/** After 200 ms the request is sent again; an answer to that is waited for so long (the scheduler may be restarting). */
const SECOND_ANSWER_MS = 800;

/** What the scheduler's first word about a request says. */
export type FirstAnswer =
  /** Read the origin: nobody else holds the content or fetches it. */
  | "read_origin"
  /** Others hold it or fetch it. */
  | "from_others"
  /** Nobody may read the origin for a while, unless it answers this very client. */
  | "origin_rests"
  | "silence";

/** A request whose client is not attached yet. */
export interface Opening {
  readonly request: TaskRequested;
  readonly traceparent: string;
  readonly answered: PromiseWithResolvers<FirstAnswer>;
  /** What it was answered, once it was. */
  first: FirstAnswer | undefined;
  /** It was asked for ahead of its client. */
  readonly expected: ExpectedClient | undefined;
  /** Of the content that others have or fetch, as far as the scheduler has said so; 0 before. */
  lengthBytes: number;
  /** Its place in a download that does not wait for it. */
  place: HeldPlace | undefined;
  /** The place of what the newest lease fetches ahead of the client, once there is one; resolves with `undefined` when there is none. */
  making: Promise<StoredTask | undefined> | undefined;
}

export function newOpening(asked: Pick<Opening, "request" | "traceparent" | "expected">): Opening {
  const answered = Promise.withResolvers<FirstAnswer>();
  return {
    ...asked,
    answered,
    first: undefined,
    lengthBytes: 0,
    place: undefined,
    making: undefined,
  };
}

/** Only the first word counts. */
export function answerTo(opening: Opening | undefined, answer: FirstAnswer): void {
  if (opening === undefined) return;
  opening.first ??= answer;
  opening.answered.resolve(answer);
}

/** Waits for the scheduler's first word about a request that was sent; asks for it once more. */
export async function firstWordOrSilence(
  opening: Opening,
  { link, clock }: Pick<DownloadServices, "link" | "clock">,
): Promise<FirstAnswer> {
  const patience = new AbortController();
  const silence = async (): Promise<FirstAnswer> => {
    await clock.sleep(ASSIGN_TIMEOUT_MS, patience.signal);
    link.request([opening]);
    for (let waitCount = 0; waitCount < BUSY_WAIT_COUNT_MAX; waitCount++) {
      const { heardCount } = link;
      await clock.sleep(SECOND_ANSWER_MS, patience.signal);
      if (link.heardCount === heardCount) break;
    }
    return "silence";
  };
  try {
    return await Promise.race([opening.answered.promise, silence()]);
  } finally {
    // With a reason: without one an exception with a stack is made for every request.
    patience.abort("answered");
  }
}
