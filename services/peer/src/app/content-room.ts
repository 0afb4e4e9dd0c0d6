import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { ByteSpan } from "@lacewing/contracts/pieces.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { dropOldest } from "../core/drop-oldest.ts";
import { isPartOfAll } from "../core/part-wish.ts";
import { joinedSpans, type ResponsePlan } from "../core/ranges.ts";
import type { RoomWish, TaskDescription } from "./ports.ts";

/** Parts of a content that are asked for one after another belong together when no longer than this lies between them. */
const PARTS_APART_MS_MAX = 10 * 60_000;
/** Contents of which small parts were asked for; the one first forgotten is the one that was not asked for longest. */
const PARTLY_WANTED_COUNT_MAX = 1024;
/** Parts of one content that lie apart from each other; the first asked for are forgotten. */
const PARTS_APART_COUNT_MAX = 64;

interface WantedParts {
  readonly spans: readonly ByteSpan[];
  readonly askedAtMs: number;
}

/**
 * How much is given up for what clients ask for. Room is taken for all of a content, so that who looks at a few bytes of it must not
 * throw out what others hold whole. But many programs fetch a whole content in parts, at once or one after another.
 */
export class ContentRoom {
  readonly #clock: Clock;
  readonly #wanted = new Map<TaskId, WantedParts>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param parts what a client wants of the content. @param isPrefetched whether the rule wants all of it then. */
  wishFor(
    { taskId, lengthBytes }: Pick<TaskDescription, "taskId" | "lengthBytes">,
    parts: ResponsePlan["parts"],
    isPrefetched: boolean,
  ): RoomWish {
    // Many origins answer several parts with the whole.
    if (isPrefetched || parts.length > 1) return "make";
    const spans = parts.map(({ span }) => span);
    const together = this.#together(taskId, spans);
    if (isPartOfAll(lengthBytes, together)) {
      this.#wanted.delete(taskId);
      return "make";
    }
    this.#wanted.delete(taskId);
    this.#wanted.set(taskId, { spans: together, askedAtMs: this.#clock.monotonic() });
    dropOldest(this.#wanted, PARTLY_WANTED_COUNT_MAX);
    return "free";
  }

  /** What has been asked for, with nothing counted twice. */
  #together(taskId: TaskId, spans: readonly ByteSpan[]): readonly ByteSpan[] {
    const before = this.#wanted.get(taskId);
    if (before === undefined) return spans;
    if (this.#clock.monotonic() - before.askedAtMs > PARTS_APART_MS_MAX) return spans;
    return joinedSpans([...before.spans, ...spans]).slice(-PARTS_APART_COUNT_MAX);
  }
}
