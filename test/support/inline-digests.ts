import type { Disk } from "@lacewing/peer/adapters/disk/disk.ts";
import type {
  Digests,
  SpanDigest,
  SpanToHash,
} from "@lacewing/peer/adapters/piece-store/digest-pool.ts";
import { DigestSpans } from "@lacewing/peer/adapters/piece-store/digest-spans.ts";
import { readFailure } from "@lacewing/peer/adapters/piece-store/task-files.ts";

/** Hashes on the main thread, so that every read goes through the test's disk, in an order that repeats. */
export class InlineDigests implements Digests {
  readonly #spans: DigestSpans;
  #nextId = 1;

  constructor(disk: Disk) {
    this.#spans = new DigestSpans(disk);
  }

  openStream(): number {
    return this.#nextId++;
  }

  closeStream(streamId: number): void {
    this.#spans.answerTo({ kind: "forget", streamId });
  }

  async hashSpan(span: SpanToHash): Promise<SpanDigest> {
    const { streamId, expected } = span;
    const answer = this.#spans.answerTo({ ...span, kind: "span", jobId: 0, streamId, expected });
    if (answer === undefined || "failure" in answer) {
      throw readFailure(new Error(answer?.failure ?? "no answer"));
    }
    if (answer.sha256 === undefined) throw new RangeError("a span without a digest");
    return { sha256: answer.sha256, hasExtended: answer.hasExtended };
  }

  async finishStream(streamId: number, end: number): Promise<Uint8Array | undefined> {
    const answer = this.#spans.answerTo({ kind: "finish", jobId: 0, streamId, end });
    return answer === undefined || "failure" in answer ? undefined : answer.sha256;
  }

  async close(): Promise<void> {}
}
