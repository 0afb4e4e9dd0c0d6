import { expect, test } from "vitest";
import { Proofs, StoreAge } from "./proofs.ts";

const MINUTE_MS = 60_000;

function proofsAt(time: { nowMs: number }, memoryBytes = 1000) {
  const age = new StoreAge({ monotonic: () => time.nowMs }, memoryBytes);
  return { age, proofs: new Proofs(age) };
}

test("a proof holds while the piece is read now and then, and lapses when it is left alone", () => {
  const time = { nowMs: 0 };
  const { proofs } = proofsAt(time);
  proofs.add(3);
  time.nowMs += 4 * MINUTE_MS;
  expect(proofs.has(3)).toBe(true);
  proofs.renew(3);
  time.nowMs += 4 * MINUTE_MS;
  expect(proofs.has(3)).toBe(true);
  time.nowMs += 2 * MINUTE_MS;
  expect(proofs.has(3)).toBe(false);
  proofs.renew(3);
  expect(proofs.has(3)).toBe(false);
});

test("a piece that is read all the time is hashed once an hour all the same", () => {
  const time = { nowMs: 0 };
  const { proofs } = proofsAt(time);
  proofs.add(3);
  let minutes = 0;
  while (proofs.has(3) && minutes < 1000) {
    proofs.renew(3);
    time.nowMs += MINUTE_MS;
    minutes++;
  }
  expect(minutes).toBe(60);
  proofs.add(3);
  expect(proofs.has(3)).toBe(true);
});

test("a proof lapses when half of the memory has passed through the store since the piece was read", () => {
  const { age, proofs } = proofsAt({ nowMs: 0 });
  proofs.add(3);
  age.passed(400);
  proofs.renew(3);
  age.passed(400);
  expect(proofs.has(3)).toBe(true);
  age.passed(100);
  expect(proofs.has(3)).toBe(false);
});
