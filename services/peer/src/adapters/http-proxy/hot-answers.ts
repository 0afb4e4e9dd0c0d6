import type { IncomingMessage, ServerResponse } from "node:http";
import type { Pace } from "../../app/pace.ts";
import type { RepeatableAnswer } from "../../app/ports.ts";
import { dropOldest } from "../../core/drop-oldest.ts";
import type { Rule } from "../../core/rules.ts";
import { isOpenAfter, sendWhole } from "./body-writer.ts";
import type { RequestTarget } from "./request-target.ts";

/** Answers remembered; the one that was not given for longest goes first. Their contents are the store's own: 4 MB at most here. */
export const HOT_ANSWER_COUNT_MAX = 1024;
/** A longer request target is signed as a rule, and no other request is like it. */
const TARGET_LENGTH_MAX = 2048;

/** Fields that change nothing of an answer from this host's own copy of content for everybody, whatever they say. */
const IDLE_FIELDS: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  // Checked by the admission; whose content it is the request target says.
  "host",
  "user-agent",
]);
/** Fields that say what is so anyway when they say this. */
const KEEP_ALIVE_FIELDS: ReadonlySet<string> = new Set(["connection", "proxy-connection"]);

/** What of a request decides. */
type Asked = Pick<IncomingMessage, "url" | "method" | "httpVersion" | "rawHeaders">;
type OriginTarget = Extract<RequestTarget, { kind: "origin" }>;

/** An answer as it was written to a client. */
export interface WrittenAnswer {
  readonly status: number;
  /** Names and values in turn. */
  readonly headers: string[];
  readonly again: RepeatableAnswer;
}

/** What a request target means, and what it was answered with. */
class HotAnswer {
  readonly target: OriginTarget;
  readonly rule: Rule;
  readonly #written: WrittenAnswer;

  constructor(target: OriginTarget, rule: Rule, written: WrittenAnswer) {
    this.target = target;
    this.rule = rule;
    this.#written = written;
  }

  /**
   * Gives it once more.
   *
   * @param receivedAtMs when the request's head was complete, by the monotonic clock.
   * @returns false when the request is to be answered anew.
   */
  give(response: ServerResponse, pace: Pace | undefined, receivedAtMs: number): boolean {
    const { again, status, headers } = this.#written;
    const repeated = again.begin(receivedAtMs);
    if (repeated === undefined) return false;
    const { content } = repeated;
    const send = (isOpen: boolean): void => {
      if (!isOpen) return repeated.ended("client_gone", 0);
      response.writeHead(status, headers);
      return sendWhole(response, content, (how) => repeated.ended(how, content.length));
    };
    const pause = pace?.(content.length);
    if (pause === undefined) send(!response.destroyed);
    else void isOpenAfter(response, pause).then(send);
    return true;
  }
}

/**
 * Answers from whole small contents that everybody may have, by request target. A request for one that says nothing else that could
 * matter is answered by writing head and content, after the same checks of who asks as any other.
 */
export class HotAnswers {
  readonly #answers = new Map<string, HotAnswer>();

  /** What is remembered for a request; whether it still holds is seen when it is given again. */
  of(request: Asked): HotAnswer | undefined {
    const key = request.url ?? "";
    const hot = this.#answers.get(key);
    if (hot === undefined || !saysNothing(request)) return undefined;
    this.#answers.delete(key);
    this.#answers.set(key, hot);
    return hot;
  }

  /** To be told when the request got an answer that may be given again. */
  memoryOf(request: Asked, target: OriginTarget, rule: Rule): (written: WrittenAnswer) => void {
    return (written) => {
      const key = request.url ?? "";
      // Credentials in a URL are not kept.
      const isSecret = target.authorization !== undefined || key.includes("@");
      if (key.length > TARGET_LENGTH_MAX || isSecret || !saysNothing(request)) return;
      this.#answers.set(key, new HotAnswer(target, rule, written));
      dropOldest(this.#answers, HOT_ANSWER_COUNT_MAX);
    };
  }
}

/** Whether a request says nothing but what it wants, in a way that every other one for it could have said as well. */
function saysNothing({ method, httpVersion, rawHeaders }: Asked): boolean {
  if (method !== "GET" || httpVersion !== "1.1") return false;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? "";
    if (IDLE_FIELDS.has(name)) continue;
    const isUsual = KEEP_ALIVE_FIELDS.has(name) && isKeepAlive(rawHeaders[index + 1]);
    if (!isUsual) return false;
  }
  return true;
}

function isKeepAlive(value: string | undefined): boolean {
  return value?.toLowerCase() === "keep-alive";
}
