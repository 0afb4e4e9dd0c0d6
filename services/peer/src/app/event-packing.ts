import { Event } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";

/** Events packed in one message, by number and by size: well below the broker's largest message. */
export const PACKED_EVENT_COUNT_MAX = 512;
export const PACKED_BYTES_MAX = 512 * 1024;

/** What events are about: the tasks of one slice, or the host. */
export type EventTarget = number | "host";

/** What is to be published about one target, and when. */
export interface Waiting {
  readonly events: Event[];
  dueAtMs: number;
}

/** What is published now. */
export interface Ready {
  readonly target: EventTarget;
  readonly waiting: Waiting;
  /** There is nothing more to be collected for it. */
  readonly isAll: boolean;
}

export function isLeaving({ kind }: Event): boolean {
  return kind?.$case === "hostLeft";
}

/** Divides targets into messages by the number of their events; a target with more than one message holds is alone. */
export function* packable(ready: readonly Ready[]): Generator<readonly Ready[]> {
  let together: Ready[] = [];
  let eventCount = 0;
  for (const one of ready) {
    const { length } = one.waiting.events;
    if (length === 0) continue;
    if (together.length > 0 && eventCount + length > PACKED_EVENT_COUNT_MAX) {
      yield together;
      together = [];
      eventCount = 0;
    }
    together.push(one);
    eventCount += length;
  }
  if (together.length > 0) yield together;
}

/** How many events from the front fit in one message; at least one. */
export function packableCount(events: readonly Event[]): number {
  let bytes = 0;
  let count = 0;
  for (const event of events) {
    bytes += Event.encode(event).finish().length;
    if (count > 0 && (bytes > PACKED_BYTES_MAX || count >= PACKED_EVENT_COUNT_MAX)) break;
    count++;
  }
  return count;
}
