import type { Progress } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { Presets, SingleBar } from "cli-progress";
import { trafficText } from "./traffic-text.ts";
import { formatBytes, formatDuration } from "@lacewing/runtime/figures.ts";

/** What a person sees while a download runs. */
export interface DownloadBar {
  /** @param lengthBytes 0 when it is not known. */
  begin(lengthBytes: number): void;
  update(receivedBytes: number, traffic: Progress): void;
  end(): void;
}

export const silentBar: DownloadBar = { begin: () => {}, update: () => {}, end: () => {} };

/** A bar on the terminal (standard error) with rate, time left, and where the bytes come from. */
export function createDownloadBar(monotonic: () => number): DownloadBar {
  let startedAtMs = 0;
  let length = 0;
  const bar = new SingleBar(
    {
      format: "{bar} {done}  {rate}/s  {left}  {from}",
      hideCursor: true,
      clearOnComplete: true,
      barsize: 28,
      autopadding: false,
      gracefulExit: false,
      emptyOnZero: true,
    },
    Presets.shades_classic,
  );
  const fields = (received: number, traffic: Progress) => {
    const elapsedMs = Math.max(1, monotonic() - startedAtMs);
    const bytesPerMs = received / elapsedMs;
    const leftMs = bytesPerMs > 0 ? (length - received) / bytesPerMs : Infinity;
    return {
      done:
        length === 0 ? formatBytes(received) : `${formatBytes(received)} of ${formatBytes(length)}`,
      rate: formatBytes(bytesPerMs * 1000),
      left: length === 0 || !Number.isFinite(leftMs) ? "" : `${formatDuration(leftMs)} left`,
      from: trafficText(traffic),
    };
  };
  return {
    begin: (lengthBytes) => {
      startedAtMs = monotonic();
      length = lengthBytes;
      bar.start(Math.max(1, lengthBytes), 0, { done: "", rate: "", left: "", from: "" });
    },
    update: (receivedBytes, traffic) =>
      bar.update(Math.min(receivedBytes, Math.max(1, length)), fields(receivedBytes, traffic)),
    end: () => bar.stop(),
  };
}
