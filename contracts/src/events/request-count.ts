import type { DownloadFinished } from "../gen/lacewing/events/v1/events.ts";

/** How many client requests a download fact stands for: those of hosts that only know single ones do not say. */
export function requestCountOf({ requestCount }: Pick<DownloadFinished, "requestCount">): number {
  return Math.max(1, requestCount);
}
