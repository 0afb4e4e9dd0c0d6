import { expect, test } from "vitest";
import { isProcessAlive, runProcess, runProcessOrThrow, startProcess } from "./processes.ts";
import { waitFor } from "./wait-for.ts";

test("output, exit code and input go where they belong", async () => {
  const script = 'read line; echo "got $line"; echo trouble >&2; exit 3';
  const result = await runProcess({ command: "sh", args: ["-c", script], input: "x\n" });
  expect(result).toMatchObject({ exitCode: 3, stdout: "got x\n", stderr: "trouble\n" });
});

test("the environment is the given one and nothing else", async () => {
  const result = await runProcess({ command: "/usr/bin/env", args: [], env: { ONLY: "this" } });
  expect(result.stdout).toBe("ONLY=this\n");
});

test("a failure says what was run and what it complained about", async () => {
  const request = { command: "sh", args: ["-c", "echo no luck >&2; exit 4"] };
  await expect(runProcessOrThrow(request)).rejects.toThrow("exit code 4: no luck");
  await expect(runProcess({ command: "/no/such/program", args: [] })).rejects.toThrow(
    "cannot start /no/such/program",
  );
});

test("whoever kills a process ends what it has started as well", async () => {
  const running = await startProcess({
    command: "sh",
    args: ["-c", "sleep 60 & echo $!; wait"],
  });
  const pid = await waitFor("the child's pid", () => Number(running.output().stdout) || undefined);
  expect(isProcessAlive(pid)).toBe(true);
  running.kill("SIGTERM");
  expect((await running.result).signal).toBe("SIGTERM");
  await waitFor("the grandchild to end", () => !isProcessAlive(pid));
});

test("a process that takes too long, or whose caller gave up, is ended", async () => {
  const slow = { command: "sleep", args: ["60"] };
  expect((await runProcess({ ...slow, timeoutMs: 50 })).signal).toBe("SIGKILL");
  const caller = new AbortController();
  const running = await startProcess({ ...slow, signal: caller.signal });
  caller.abort();
  expect((await running.result).signal).toBe("SIGTERM");
});
