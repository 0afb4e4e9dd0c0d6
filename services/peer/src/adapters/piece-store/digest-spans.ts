import { createHash, type Hash } from "node:crypto";
import type { Disk } from "../disk/disk.ts";
import type { DigestAnswer, DigestQuestion } from "./digest-protocol.ts";

/** Large enough that system calls cost nothing beside hashing, small enough to stay in the CPU's cache. */
const STEP_BYTES = 256 * 1024;

/** A running hash over the beginning of one content. */
interface ContentStream {
  hash: Hash;
  position: number;
}

/** Hashes spans of open files, and whole contents along with them. */
export class DigestSpans {
  readonly #disk: Pick<Disk, "readSync">;
  readonly #step = Buffer.allocUnsafeSlow(STEP_BYTES);
  readonly #streams = new Map<number, ContentStream>();

  constructor(disk: Pick<Disk, "readSync">) {
    this.#disk = disk;
  }

  /** `undefined`: the question is not one that is answered. Never throws. */
  answerTo(question: DigestQuestion): DigestAnswer | undefined {
    switch (question.kind) {
      case "forget":
        this.#streams.delete(question.streamId);
        return undefined;
      case "finish": {
        const stream = this.#streams.get(question.streamId);
        const sha256 = stream?.position === question.end ? stream.hash.copy().digest() : undefined;
        return { jobId: question.jobId, sha256, hasExtended: false };
      }
      case "span":
        try {
          return { jobId: question.jobId, ...this.#hashSpan(question) };
        } catch (error) {
          return {
            jobId: question.jobId,
            failure: error instanceof Error ? error.message : String(error),
          };
        }
    }
  }

  /** One pass over the span gives its own digest and, when the content's running hash stands at its start, extends that. */
  #hashSpan(question: Extract<DigestQuestion, { kind: "span" }>) {
    const own = createHash("sha256");
    const stream = this.#streamAt(question.streamId, question.start);
    // The copy is thrown away when the piece turns out to be wrong.
    const extended = stream?.hash.copy();
    for (let position = question.start; position < question.end;) {
      const length = Math.min(STEP_BYTES, question.end - position);
      const count = this.#disk.readSync(question.fd, this.#step, { at: 0, length, position });
      if (count === 0) throw new Error(`file ends at byte ${position}, wanted ${question.end}`);
      const bytes = this.#step.subarray(0, count);
      own.update(bytes);
      extended?.update(bytes);
      position += count;
    }
    const sha256 = own.digest();
    const isAccepted = question.expected === undefined || sha256.equals(question.expected);
    const hasExtended = stream !== undefined && extended !== undefined && isAccepted;
    if (hasExtended) {
      stream.hash = extended;
      stream.position = question.end;
    }
    return { sha256, hasExtended };
  }

  /** The content's running hash if it stands at `start`; begun when that is the beginning. */
  #streamAt(streamId: number | undefined, start: number): ContentStream | undefined {
    if (streamId === undefined) return undefined;
    const known = this.#streams.get(streamId);
    if (known !== undefined || start > 0) return known?.position === start ? known : undefined;
    const begun = { hash: createHash("sha256"), position: 0 };
    this.#streams.set(streamId, begun);
    return begun;
  }
}
