import { runProcessOrThrow } from "../support/processes.ts";

/** What wrk saw: the same request over kept connections, as fast as the answers come. */
export interface WrkResult {
  readonly requestCount: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  /** Answers that took more than two seconds. */
  readonly lateCount: number;
}

const MS_PER_UNIT: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };

/** One thread of wrk. @throws when answers were errors, or what it says is not understood. */
export async function runWrk(
  url: string,
  { connections, seconds }: { readonly connections: number; readonly seconds: number },
): Promise<WrkResult> {
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "--latency", url];
  const { stdout } = await runProcessOrThrow({ command: "wrk", args });
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(
    stdout,
  );
  const [connect = 0, read = 0, write = 0, lateCount = 0] = errors?.slice(1).map(Number) ?? [];
  if (/Non-2xx/.test(stdout) || connect + read + write > 0) throw new Error(`${url}: ${stdout}`);
  const [, p50 = "", unit = ""] = /\b50%\s+([\d.]+)(us|ms|s)/.exec(stdout) ?? [];
  return {
    requestCount: Number(/(\d+) requests in/.exec(stdout)?.[1]),
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
    p50Ms: Number(p50) * (MS_PER_UNIT[unit] ?? Number.NaN),
    lateCount,
  };
}
