import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { PortError } from "@lacewing/runtime/errors.ts";
import { lfsObjectSchema, originMessageSchema, type OriginCall } from "./lfs-origin-control.ts";
import type { LfsOrigin, LfsOriginOptions } from "./lfs-origin.ts";
import { originStatsSchema } from "./origin-stats.ts";

/** Node's own start plus one listening socket; generous for a machine that is busy. */
const START_TIMEOUT_MS = 20_000;
const MAIN_FILE = fileURLToPath(new URL("./lfs-origin-main.ts", import.meta.url));

/**
 * Starts an origin as a child process; it ends with this process, however this ends.
 *
 * @throws {PortError} when the child exits or says nothing within {@link START_TIMEOUT_MS}.
 */
export async function startLfsOriginProcess(
  options: LfsOriginOptions = {},
): Promise<LfsOrigin & { readonly pid: number }> {
  const settings = [options.rateBytesPerSecond, options.urlExpiresSeconds, options.distanceMs];
  const child = fork(
    MAIN_FILE,
    settings.map((value) => String(value ?? "")),
    {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
      execArgv: ["--disable-warning=ExperimentalWarning"],
    },
  );
  const channel = new OriginChannel(child);
  const port = await channel.ready();
  const close = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    if (child.connected) child.disconnect();
    await exited;
  };
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    port,
    addObject: async (content, oid) =>
      lfsObjectSchema.parse(await channel.call({ method: "add_object", content, oid })),
    putFile: async (name, content, headers) => {
      await channel.call({
        method: "put_file",
        name,
        content,
        ...(headers === undefined ? {} : { headers: { ...headers } }),
      });
    },
    setFaults: async (key, faults) => {
      await channel.call({ method: "set_faults", key, faults: [...faults] });
    },
    setRate: async (bytesPerSecond) => {
      await channel.call({ method: "set_rate", bytesPerSecond });
    },
    stats: async () => originStatsSchema.parse(await channel.call({ method: "stats" })),
    resetStats: async () => {
      await channel.call({ method: "reset_stats" });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Calls and answers over the IPC channel. Every call ends: with an answer, a failure, or the child's exit. */
class OriginChannel {
  readonly #child: ChildProcess;
  readonly #open = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #port = Promise.withResolvers<number>();
  #lastId = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (message: unknown) => this.#receive(message));
    child.once("exit", (code, signal) => {
      const gone = new PortError("origin_gone", `the test origin exited (${signal ?? code})`, {
        retryable: false,
      });
      this.#port.reject(gone);
      for (const call of this.#open.values()) call.reject(gone);
      this.#open.clear();
    });
  }

  async ready(): Promise<number> {
    const timer = setTimeout(() => {
      const message = `the test origin was not ready within ${START_TIMEOUT_MS} ms`;
      this.#port.reject(new PortError("origin_silent", message, { retryable: true }));
      this.#child.kill("SIGKILL");
    }, START_TIMEOUT_MS);
    try {
      return await this.#port.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  async call(call: OriginCall): Promise<unknown> {
    this.#lastId += 1;
    const answer = Promise.withResolvers<unknown>();
    this.#open.set(this.#lastId, answer);
    this.#child.send({ id: this.#lastId, call });
    return answer.promise;
  }

  #receive(raw: unknown): void {
    const message = originMessageSchema.parse(raw);
    if (message.type === "ready") {
      this.#port.resolve(message.port);
      return;
    }
    const answer = this.#open.get(message.id);
    this.#open.delete(message.id);
    if (message.type === "answer") answer?.resolve(message.value);
    else answer?.reject(new PortError("origin_failed", message.message, { retryable: false }));
  }
}
