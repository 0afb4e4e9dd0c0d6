import { createHash, type Hash } from "node:crypto";
import { readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import type { DigestAnswer, DigestQuestion } from "./digest-protocol.ts";

/**
 * Hashes spans of open files. Descriptors are the process's, so the main thread passes numbers, and keeps the file open
 * until the answer is there.
 */

/** Large enough that system calls cost nothing beside hashing, small enough to stay in the CPU's cache. */
const STEP_BYTES = 256 * 1024;

const step = Buffer.allocUnsafeSlow(STEP_BYTES);

/** A running hash over the beginning of one content. */
interface ContentStream {
  hash: Hash;
  position: number;
}

const streams = new Map<number, ContentStream>();

if (parentPort === null) throw new Error("digest-worker is not the program of a process");
const port = parentPort;
port.on("message", (question: DigestQuestion) => {
  const answer = answerTo(question);
  if (answer !== undefined) port.postMessage(answer);
});

function answerTo(question: DigestQuestion): DigestAnswer | undefined {
  switch (question.kind) {
    case "forget":
      streams.delete(question.streamId);
      return undefined;
    case "finish": {
      const stream = streams.get(question.streamId);
      const sha256 = stream?.position === question.end ? stream.hash.copy().digest() : undefined;
      return { jobId: question.jobId, sha256, hasExtended: false };
    }
    case "span":
      try {
        return { jobId: question.jobId, ...hashSpan(question) };
      } catch (error) {
        return {
          jobId: question.jobId,
          failure: error instanceof Error ? error.message : String(error),
        };
      }
  }
}

/** One pass over the span gives its own digest and, when the content's running hash stands at its start, extends that. */
function hashSpan(question: Extract<DigestQuestion, { kind: "span" }>) {
  const own = createHash("sha256");
  const stream = streamAt(question.streamId, question.start);
  // The copy is thrown away when the piece turns out to be wrong.
  const extended = stream?.hash.copy();
  for (let at = question.start; at < question.end;) {
    const count = readSync(question.fd, step, 0, Math.min(STEP_BYTES, question.end - at), at);
    if (count === 0) throw new Error(`file ends at byte ${at}, wanted ${question.end}`);
    const bytes = step.subarray(0, count);
    own.update(bytes);
    extended?.update(bytes);
    at += count;
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
function streamAt(streamId: number | undefined, start: number): ContentStream | undefined {
  if (streamId === undefined) return undefined;
  const known = streams.get(streamId);
  if (known !== undefined || start > 0) return known?.position === start ? known : undefined;
  const begun = { hash: createHash("sha256"), position: 0 };
  streams.set(streamId, begun);
  return begun;
}
