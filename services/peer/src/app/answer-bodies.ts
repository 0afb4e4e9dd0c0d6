import type { ResponsePlan } from "../core/ranges.ts";
import type { DownloadRecord } from "./download-record.ts";
import type { Pace } from "./pace.ts";
import type { OriginResponse, PullBody } from "./ports.ts";
import type { TaskReader } from "./task-reader.ts";

/** The body of an answer from stored or arriving content: its parts, and the text between them when there are several. */
export function plannedBody(
  plan: ResponsePlan,
  reader: TaskReader,
  record: DownloadRecord,
): PullBody {
  const segments = plan.parts.flatMap(({ prefix }, spanIndex) => [
    ...textSegments(prefix),
    { kind: "span", spanIndex } as const,
  ]);
  segments.push(...textSegments(plan.suffix));
  let index = 0;
  let isEntered = false;
  return {
    read: async (into) => {
      for (; index < segments.length; index++, isEntered = false) {
        const segment = segments[index];
        if (segment === undefined) break;
        if (segment.kind === "text") {
          const length = takeText(segment, into);
          if (length > 0) return length;
          continue;
        }
        if (!isEntered) reader.enter(segment.spanIndex);
        isEntered = true;
        const length = await reader.read(into);
        if (length > 0) {
          record.firstByte();
          return length;
        }
      }
      return 0;
    },
    takeWhole: () => {
      if (segments.length > 1 || index > 0 || isEntered) return undefined;
      const whole = reader.takeWhole();
      if (whole === undefined) return undefined;
      index = segments.length;
      record.firstByte();
      return whole;
    },
  };
}

interface TextSegment {
  readonly kind: "text";
  /** One byte per character. */
  readonly bytes: Uint8Array;
  at: number;
}

/** Most answers are one part without text around it. */
function textSegments(text: string): readonly TextSegment[] {
  return text === "" ? [] : [{ kind: "text", bytes: Buffer.from(text, "latin1"), at: 0 }];
}

function takeText(segment: TextSegment, into: Uint8Array): number {
  const length = Math.min(into.length, segment.bytes.length - segment.at);
  into.set(segment.bytes.subarray(segment.at, segment.at + length));
  segment.at += length;
  return length;
}

/**
 * The body of the origin's own answer, handed on as it arrives and counted as read from the origin.
 *
 * @param isContent `false` for an error: it is no content, and what it costs is counted with the probes.
 */
export function originBody(
  response: OriginResponse,
  record: DownloadRecord,
  { isContent, pace }: { readonly isContent: boolean; readonly pace: Pace | undefined },
): PullBody {
  const chunks = response.body[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array(0);
  return {
    read: async (into) => {
      while (rest.length === 0) {
        const next = await chunks.next();
        if (next.done === true) return 0;
        rest = next.value;
        const pause = pace?.(rest.length);
        if (pause !== undefined) await pause;
        if (isContent) record.fetched.backToSource += rest.length;
        else record.probeBytes += rest.length;
      }
      const length = Math.min(into.length, rest.length);
      into.set(rest.subarray(0, length));
      rest = rest.subarray(length);
      record.firstByte();
      if (isContent) record.delivered.backToSource += length;
      return length;
    },
  };
}
