import type { ServiceLog } from "@lacewing/observability/log.ts";
import { EXIT_CODE } from "@lacewing/runtime/lifecycle.ts";

/**
 * Obeys a stop that comes while the broker or the database does not answer, which may be for ever: nothing is served yet, so there
 * is nothing to finish but to give back what is owned.
 */
export class StoppableStart {
  readonly #log: ServiceLog;
  readonly #signals = ["SIGTERM", "SIGINT"] as const;
  readonly #stop = () => void this.#run();
  #isStopping = false;
  #giveBack: () => Promise<void> = async () => {};

  constructor(log: ServiceLog) {
    this.#log = log;
    for (const signal of this.#signals) process.once(signal, this.#stop);
    if (process.channel !== undefined) process.once("disconnect", this.#stop);
  }

  /** @param giveBack settles by itself. */
  onStop(giveBack: () => Promise<void>): void {
    this.#giveBack = giveBack;
  }

  /** The outcome of `work`, unless a stop has been asked for and it failed of that: then the process is about to end. */
  async guard<Value>(work: Promise<Value>): Promise<Value> {
    try {
      return await work;
    } catch (error) {
      if (this.#isStopping) await new Promise<never>(() => {});
      throw error;
    }
  }

  done(): void {
    for (const signal of this.#signals) process.off(signal, this.#stop);
    process.off("disconnect", this.#stop);
  }

  async #run(): Promise<void> {
    this.#isStopping = true;
    this.#log.info("stopped before it was ready");
    await this.#giveBack().catch(() => {});
    this.#log.close();
    process.exit(EXIT_CODE.ok);
  }
}
