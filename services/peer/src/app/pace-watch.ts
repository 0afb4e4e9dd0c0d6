import type { Clock } from "@lacewing/runtime/clock.ts";
import { TransferError } from "./ports.ts";

/** A read is judged by what it brought in this time. Silence alone is noticed as soon, by whoever reads the socket. */
const WINDOW_MS = 10_000;
/** A parent that sends less hangs, though it says something now and then: sixteen reads that share 5 Mbit/s get more. */
const PARENT_BYTES_PER_SECOND_MIN = 32 * 1024;
/** An origin may be slow, and there is only one. Of less, a new connection can hardly bring less. */
const ORIGIN_BYTES_PER_SECOND_MIN = 1024;
/** A parent is too slow when another one sends so many times as much to this host in the same time. */
const SLOW_RATIO = 16;

/** One read that is watched. */
export interface WatchedRead {
  received(bytes: number): void;
  stop(): void;
}

interface Pace {
  readonly source: string;
  sinceMs: number;
  bytes: number;
}

/** Watches how fast the reads of one task are, and has those given up that are too slow to be of use. */
export class PaceWatch {
  readonly #clock: Clock;
  readonly #paces = new Set<Pace>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Watches a read from its first byte on.
   *
   * @param source the parent's host id; "" for the origin.
   * @param isOurFault whether our own disk is what holds the read up.
   * @param giveUp called once, with the reason.
   * @param silenceMs for how long nothing may come.
   */
  begin(
    source: string,
    isOurFault: () => boolean,
    giveUp: (reason: TransferError) => void,
    silenceMs = Infinity,
  ): WatchedRead {
    const pace: Pace = { source, sinceMs: 0, bytes: 0 };
    let timer: NodeJS.Timeout | undefined;
    const judge = (): void => {
      const problem = isOurFault() ? undefined : this.#problemOf(pace);
      if (problem === undefined) {
        pace.sinceMs = this.#clock.monotonic();
        pace.bytes = 0;
        timer = setTimeout(judge, WINDOW_MS);
      } else giveUp(new TransferError("stalled", problem));
    };
    let silence: NodeJS.Timeout | undefined;
    const hearNothing = (): void => {
      if (isOurFault()) silence?.refresh();
      else
        giveUp(new TransferError("stalled", `${whoIs(source)} said nothing for ${silenceMs} ms`));
    };
    return {
      received: (bytes) => {
        pace.bytes += bytes;
        if (silence !== undefined) silence.refresh();
        else if (silenceMs < Infinity) silence = setTimeout(hearNothing, silenceMs);
        if (timer !== undefined) return;
        pace.sinceMs = this.#clock.monotonic();
        this.#paces.add(pace);
        timer = setTimeout(judge, WINDOW_MS);
      },
      stop: () => {
        clearTimeout(timer);
        clearTimeout(silence);
        this.#paces.delete(pace);
      },
    };
  }

  #problemOf(pace: Pace): string | undefined {
    const isOrigin = pace.source === "";
    const who = whoIs(pace.source);
    const rate = this.#rateOf(pace);
    const min = isOrigin ? ORIGIN_BYTES_PER_SECOND_MIN : PARENT_BYTES_PER_SECOND_MIN;
    if (rate < min) return `${who} sent ${shown(rate)} B/s, less than ${min} B/s`;
    if (isOrigin) return undefined;
    for (const other of this.#paces) {
      if (other.source === "" || other.source === pace.source) continue;
      const otherRate = this.#rateOf(other);
      if (rate * SLOW_RATIO >= otherRate) continue;
      return `${who} sent ${shown(rate)} B/s, another one ${shown(otherRate)} B/s`;
    }
    return undefined;
  }

  /** Bytes per second. One that has just begun to be counted says nothing yet. */
  #rateOf({ bytes, sinceMs }: Pace): number {
    return (bytes * 1000) / Math.max(WINDOW_MS / 4, this.#clock.monotonic() - sinceMs);
  }
}

function whoIs(source: string): string {
  return source === "" ? "the origin" : "the parent";
}

function shown(bytesPerSecond: number): string {
  return bytesPerSecond.toFixed(0);
}
