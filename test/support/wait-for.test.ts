import { expect, test } from "vitest";
import { ConditionTimeout, waitFor } from "./wait-for.ts";

test("it asks until there is an answer, also over failures", async () => {
  const answers = [undefined, false, "throw", 7] as const;
  let asked = 0;
  const probe = () => {
    const answer = answers[asked];
    asked += 1;
    if (answer === "throw") throw new Error("not yet");
    return answer;
  };
  expect(await waitFor("seven", probe, { intervalMs: 1 })).toBe(7);
  expect(asked).toBe(4);
});

test("after the deadline it says what it waited for and what went wrong last", async () => {
  const probe = () => {
    throw new Error("connection refused");
  };
  const waiting = waitFor("the server", probe, { timeoutMs: 20, intervalMs: 5 });
  await expect(waiting).rejects.toThrow(ConditionTimeout);
  await expect(waiting).rejects.toThrow(
    "the server: not within 20 ms; last failure: connection refused",
  );
});
