import { Worker } from "node:worker_threads";
import { PortError } from "@lacewing/runtime/errors.ts";
import type { DigestAnswer, DigestQuestion } from "./digest-protocol.ts";
import { readFailure } from "./task-files.ts";

/** Questions with the workers at once, per worker: enough that none waits for the main thread, few enough to stay fair. */
const JOBS_PER_WORKER_MAX = 8;

/** The digest of a span, and whether it extended the content's running hash. */
export interface SpanDigest {
  readonly sha256: Uint8Array;
  readonly hasExtended: boolean;
}

export interface SpanToHash {
  /** Stays open until the answer is there. */
  readonly fd: number;
  readonly start: number;
  readonly end: number;
  readonly streamId?: number | undefined;
  readonly expected?: Uint8Array | undefined;
}

/** Takes digests of file spans. */
export interface Digests {
  /** A running hash over a whole content; its number goes into {@link SpanToHash.streamId}. */
  openStream(): number;
  closeStream(streamId: number): void;
  /** @throws {PortError} `store_read_failed`, or `store_hash_failed` (retryable) when whoever hashes died. */
  hashSpan(span: SpanToHash): Promise<SpanDigest>;
  /** The running hash's digest; `undefined` when it does not stand at `end`: hash again from the start. */
  finishStream(streamId: number, end: number): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

interface Job {
  readonly worker: WorkerSlot;
  readonly resolve: (answer: Extract<DigestAnswer, { hasExtended: boolean }>) => void;
  readonly reject: (error: unknown) => void;
}

/** One place for a worker; a worker that died is replaced when the next question comes. */
interface WorkerSlot {
  worker: Worker | undefined;
  jobCount: number;
}

/**
 * Hashes file spans in worker threads: hashing on the main thread would halve what it can move. Callers wait when all
 * workers have enough to do; what each caller has under way is bounded by its own limits.
 */
export class DigestPool implements Digests {
  readonly #slots: readonly WorkerSlot[];
  readonly #jobs = new Map<number, Job>();
  readonly #waiting: (() => void)[] = [];
  #nextId = 1;
  #isClosed = false;

  constructor(workerCount: number) {
    this.#slots = Array.from({ length: workerCount }, () => ({ worker: undefined, jobCount: 0 }));
  }

  get workerCount(): number {
    return this.#slots.length;
  }

  openStream(): number {
    const streamId = this.#nextId++;
    // Some 50 ms pass until a worker works: better while the first piece is on its way than when it is there.
    if (!this.#isClosed) this.#workerOf(this.#slotOf(streamId));
    return streamId;
  }

  closeStream(streamId: number): void {
    this.#slotOf(streamId).worker?.postMessage({
      kind: "forget",
      streamId,
    } satisfies DigestQuestion);
  }

  async hashSpan(span: SpanToHash): Promise<SpanDigest> {
    const answer = await this.#ask(span.streamId, (jobId) => ({
      kind: "span",
      jobId,
      fd: span.fd,
      start: span.start,
      end: span.end,
      streamId: span.streamId,
      expected: span.expected,
    }));
    if (answer.sha256 === undefined) throw hashFailure("a span without a digest");
    return { sha256: answer.sha256, hasExtended: answer.hasExtended };
  }

  async finishStream(streamId: number, end: number): Promise<Uint8Array | undefined> {
    const answer = await this.#ask(streamId, (jobId) => ({ kind: "finish", jobId, streamId, end }));
    return answer.sha256;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const wake of this.#waiting.splice(0)) wake();
    // First the workers, then the jobs: the files close as soon as their jobs are over.
    await Promise.all(this.#slots.map(async (slot) => slot.worker?.terminate()));
    for (const slot of this.#slots) this.#failJobsOf(slot, hashFailure("the store is closed"));
  }

  async #ask(
    streamId: number | undefined,
    questionOf: (jobId: number) => DigestQuestion,
  ): Promise<Extract<DigestAnswer, { hasExtended: boolean }>> {
    while (!this.#isClosed && this.#jobs.size >= JOBS_PER_WORKER_MAX * this.#slots.length) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.#isClosed) throw hashFailure("the store is closed");
    const slot = streamId === undefined ? this.#leastBusySlot() : this.#slotOf(streamId);
    const worker = this.#workerOf(slot);
    const jobId = this.#nextId++;
    if (slot.jobCount++ === 0) worker.ref();
    return new Promise((resolve, reject) => {
      this.#jobs.set(jobId, { worker: slot, resolve, reject });
      worker.postMessage(questionOf(jobId));
    });
  }

  /** Workers begin with the first need: each takes 14 MB, which a host that only passes on small contents can spare. */
  #workerOf(slot: WorkerSlot): Worker {
    slot.worker ??= this.#startWorker(slot);
    return slot.worker;
  }

  #startWorker(slot: WorkerSlot): Worker {
    const worker = new Worker(new URL("./digest-worker.ts", import.meta.url), {
      name: "lacewing-digest",
    });
    // The process may end while a worker waits for work, not while somebody waits for the worker.
    worker.unref();
    worker.on("message", (answer: DigestAnswer) => this.#settle(answer));
    const gone = (cause: unknown) => {
      if (slot.worker !== worker) return;
      slot.worker = undefined;
      this.#failJobsOf(slot, hashFailure("a digest worker ended", cause));
    };
    worker.on("error", gone);
    worker.on("exit", gone);
    return worker;
  }

  #settle(answer: DigestAnswer): void {
    const job = this.#forgetJob(answer.jobId);
    if ("failure" in answer) job?.reject(readFailure(new Error(answer.failure)));
    else job?.resolve(answer);
  }

  #failJobsOf(slot: WorkerSlot, error: PortError): void {
    for (const [jobId, job] of this.#jobs) {
      if (job.worker === slot) this.#forgetJob(jobId)?.reject(error);
    }
  }

  #forgetJob(jobId: number): Job | undefined {
    const job = this.#jobs.get(jobId);
    if (job === undefined) return undefined;
    this.#jobs.delete(jobId);
    if (--job.worker.jobCount === 0) job.worker.worker?.unref();
    this.#waiting.shift()?.();
    return job;
  }

  #leastBusySlot(): WorkerSlot {
    return this.#slots.reduce((best, slot) => (slot.jobCount < best.jobCount ? slot : best));
  }

  /** All of a running hash's questions go to one worker, in order: it lives there. */
  #slotOf(streamId: number): WorkerSlot {
    const slot = this.#slots[streamId % this.#slots.length];
    if (slot === undefined) throw hashFailure("no digest worker");
    return slot;
  }
}

function hashFailure(message: string, cause?: unknown): PortError {
  return new PortError("store_hash_failed", message, { retryable: true, cause });
}
