import { expect, test } from "vitest";
import type { FetchEnd } from "./lease-fetch.ts";
import { readsInTurn } from "./reads-in-turn.ts";

const FINE: FetchEnd = { ok: true, bytes: 1 };
const FAILED: FetchEnd = {
  ok: false,
  bytes: 0,
  reason: "stalled",
  detail: "late",
  wrongPiece: undefined,
};

/** Reads under the control of the test. */
function scripted(parts: readonly string[], lateCountMax?: number) {
  const begun: string[] = [];
  const arrived = new Map<string, () => void>();
  const ends = new Map<string, PromiseWithResolvers<FetchEnd>>();
  const done = readsInTurn(
    parts,
    async (part, hasArrived) => {
      begun.push(part);
      arrived.set(part, hasArrived);
      const end = Promise.withResolvers<FetchEnd>();
      ends.set(part, end);
      return end.promise;
    },
    lateCountMax,
  );
  done.catch(() => undefined);
  const settled = async () => new Promise(setImmediate);
  return { begun, arrived, ends, done, settled };
}

test("the next read begins when the bytes of the one before are here, or when it has ended", async () => {
  const { begun, arrived, ends, done, settled } = scripted(["a", "b", "c"]);
  await settled();
  expect(begun).toEqual(["a"]);
  arrived.get("a")?.();
  await settled();
  expect(begun).toEqual(["a", "b"]);
  ends.get("b")?.resolve(FINE);
  await settled();
  expect(begun).toEqual(["a", "b", "c"]);
  ends.get("c")?.resolve(FINE);
  let isOver = false;
  void done.finally(() => (isOver = true));
  await settled();
  expect(isOver).toBe(false);
  ends.get("a")?.resolve(FINE);
  expect(await done).toBeUndefined();
});

test("with so many pieces that wait for their digest, the next one is asked for when one is settled", async () => {
  const { begun, arrived, ends, settled } = scripted(["a", "b", "c"], 1);
  for (const part of ["a", "b"]) {
    await settled();
    arrived.get(part)?.();
  }
  await settled();
  expect(begun).toEqual(["a", "b"]);
  ends.get("b")?.resolve(FINE);
  await settled();
  expect(begun).toEqual(["a", "b", "c"]);
});

test("after a failure nothing more is begun, and what was begun is waited for", async () => {
  const { begun, arrived, ends, done, settled } = scripted(["a", "b", "c"]);
  await settled();
  arrived.get("a")?.();
  await settled();
  ends.get("a")?.resolve(FAILED);
  await settled();
  arrived.get("b")?.();
  await settled();
  expect(begun).toEqual(["a", "b"]);
  ends.get("b")?.resolve(FINE);
  expect(await done).toBe(FAILED);
});

test("what should not happen is thrown, after the rest has ended", async () => {
  const { arrived, ends, done, settled } = scripted(["a", "b"]);
  await settled();
  arrived.get("a")?.();
  await settled();
  ends.get("a")?.reject(new Error("a bug"));
  ends.get("b")?.resolve(FINE);
  await expect(done).rejects.toThrow("a bug");
});
