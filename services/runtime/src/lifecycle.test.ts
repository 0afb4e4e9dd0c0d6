import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { EXIT_CODE } from "./lifecycle.ts";

/** Stops in two seconds, and says so. */
const SLOW_SERVICE = `
import { setTimeout as sleep } from "node:timers/promises";
import { runService } from ${JSON.stringify(new URL("./lifecycle.ts", import.meta.url).href)};
await runService(async () => ({
  addresses: {},
  stop: async () => {
    process.stdout.write("stopping\\n");
    await sleep(2_000);
    process.stdout.write("stopped\\n");
  },
}));
`;
/** Longer than the copies of one Ctrl-C are apart. */
const LATER_MS = 1_200;

let child: ChildProcess | undefined;
afterEach(() => child?.kill("SIGKILL"));

async function startSlowService() {
  const service = spawn(process.execPath, ["--input-type=module", "--eval", SLOW_SERVICE], {
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  child = service;
  let output = "";
  service.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const closed = once(service, "close");
  await once(service, "message");
  return {
    signal: (name: NodeJS.Signals) => service.kill(name),
    stopping: async () => {
      while (!output.includes("stopping")) await sleep(10);
    },
    end: async () => {
      await closed;
      return { exitCode: service.exitCode, signal: service.signalCode, output };
    },
  };
}

test.each([
  ["SIGTERM", "SIGTERM"],
  ["SIGINT", "SIGTERM"],
  ["SIGTERM", "SIGINT"],
] as const)("a stop by %s is finished although %s follows at once", async (first, second) => {
  const service = await startSlowService();
  service.signal(first);
  await service.stopping();
  service.signal(second);
  expect(await service.end()).toEqual({
    exitCode: EXIT_CODE.ok,
    signal: null,
    output: "stopping\nstopped\n",
  });
});

test.each([
  ["SIGTERM", "SIGTERM"],
  ["SIGINT", "SIGTERM"],
  ["SIGTERM", "SIGINT"],
] as const)("a stop by %s is finished although %s follows later", async (first, second) => {
  const service = await startSlowService();
  service.signal(first);
  await sleep(LATER_MS);
  service.signal(second);
  expect(await service.end()).toMatchObject({ exitCode: EXIT_CODE.ok, signal: null });
});

test("who presses Ctrl-C again after a moment does not wait for the stop", async () => {
  const service = await startSlowService();
  service.signal("SIGINT");
  await sleep(LATER_MS);
  service.signal("SIGINT");
  expect(await service.end()).toMatchObject({
    exitCode: EXIT_CODE.interrupted,
    output: "stopping\n",
  });
});
