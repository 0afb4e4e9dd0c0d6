import { type HostId, parseHostId } from "./ids.ts";
import { isSlice } from "./slices.ts";

/** The subject grammar: the only place where subjects are put together or taken apart. */

export const EVENTS_STREAM = "LACEWING_EVENTS";
export const DECISIONS_STREAM = "LACEWING_DECISIONS";

/** What LACEWING_EVENTS stores. */
export const EVENTS_STREAM_SUBJECTS = ["lw.v1.ev.*.*", "lw.v1.host.*"] as const;
/** What LACEWING_DECISIONS stores. */
export const DECISIONS_STREAM_SUBJECTS = ["lw.v1.dec.*"] as const;

/** In the place of a slice: a message with events of several. */
export const MIXED = "mixed";

/** Events of one host about the tasks of one slice, or of several. */
export function eventsSubject(slice: number | typeof MIXED, hostId: HostId): string {
  return `lw.v1.ev.${slice}.${hostId}`;
}

/**
 * Filters for the events of all hosts about the tasks of one slice: what comes by the second is of other slices as well.
 */
export function sliceEventsFilters(slice: number): readonly string[] {
  return [`lw.v1.ev.${slice}.*`, `lw.v1.ev.${MIXED}.*`];
}

/** Events of one host about itself. */
export function hostSubject(hostId: HostId): string {
  return `lw.v1.host.${hostId}`;
}

/** The decision log of one slice. */
export function decisionsSubject(slice: number): string {
  return `lw.v1.dec.${slice}`;
}

/** Where one host hears its assignments (core NATS, not stored). */
export function assignmentsSubject(hostId: HostId): string {
  return `lw.v1.assign.${hostId}`;
}

/** Where one host tells what holds its readers up in the tasks of one slice (core NATS, not stored); `*`: of whichever slice. */
export function hintsSubject(slice: number | "*", hostId: HostId): string {
  return `lw.v1.hint.${slice}.${hostId}`;
}

/** Hints of all hosts about the tasks of all slices. */
export const HINTS_FILTER = "lw.v1.hint.*.*";

/** Prefix of a client's reply subjects: nobody else may read them. */
export function inboxPrefix(clientName: string): string {
  return `_INBOX_${clientName.replaceAll(/[^A-Za-z0-9_-]/g, "_")}`;
}

export type ParsedSubject =
  | {
      readonly kind: "events";
      readonly slice: number | typeof MIXED;
      readonly hostId: HostId;
    }
  | { readonly kind: "host"; readonly hostId: HostId }
  | { readonly kind: "decisions"; readonly slice: number };

/** Takes a stored subject apart; `undefined` when it is none of ours. */
export function parseSubject(subject: string): ParsedSubject | undefined {
  const [lw, version, kind, third, fourth, ...rest] = subject.split(".");
  if (lw !== "lw" || version !== "v1" || third === undefined || rest.length > 0) return undefined;
  if (kind === "host" && fourth === undefined) {
    const hostId = parseHostId(third);
    return hostId === undefined ? undefined : { kind: "host", hostId };
  }
  const slice = sliceNamed(third);
  if (kind === "dec" && fourth === undefined)
    return slice === undefined ? undefined : { kind: "decisions", slice };
  const hostId = fourth === undefined ? undefined : parseHostId(fourth);
  if (kind !== "ev" || hostId === undefined) return undefined;
  if (third === MIXED) return { kind: "events", slice: MIXED, hostId };
  return slice === undefined ? undefined : { kind: "events", slice, hostId };
}

/** Who speaks by a hint, and about which slice; `undefined` when the subject is no hint's. */
export function parseHintsSubject(
  subject: string,
): { readonly slice: number; readonly hostId: HostId } | undefined {
  const [lw, version, kind, third = "", fourth = "", ...rest] = subject.split(".");
  if (lw !== "lw" || version !== "v1" || kind !== "hint" || rest.length > 0) return undefined;
  const slice = sliceNamed(third);
  const hostId = parseHostId(fourth);
  return slice === undefined || hostId === undefined ? undefined : { slice, hostId };
}

/** Without leading zeros: one slice has one subject, else a log would have two names. */
function sliceNamed(token: string): number | undefined {
  const slice = /^(?:0|[1-9]\d?)$/.test(token) ? Number(token) : Number.NaN;
  return isSlice(slice) ? slice : undefined;
}
