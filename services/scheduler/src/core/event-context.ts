/** Whose message an event came in, and when. */
export interface EventContext {
  readonly hostId: string;
  readonly bootId: string;
  /** Position of the message in the boot. */
  readonly sequence: number;
  /** When it was folded, milliseconds since 1970; on replay, when the broker stored it. */
  readonly atMs: number;
}
