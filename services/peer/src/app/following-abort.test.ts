import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { followingAbort } from "./following-abort.ts";

test("follows with the reason, also one that was there before", () => {
  const followed = new AbortController();
  const early = followingAbort(followed.signal);
  followed.abort("gone");
  expect(early.signal.reason).toBe("gone");
  expect(followingAbort(followed.signal).signal.reason).toBe("gone");
});

test("its own abort does not reach the other, and a released one leaves nothing there", () => {
  const followed = new AbortController();
  const following = followingAbort(followed.signal);
  following.abort("wrong");
  expect(following.signal.reason).toBe("wrong");
  expect(followed.signal.aborted).toBe(false);
  expect(getEventListeners(followed.signal, "abort")).toHaveLength(1);
  following.release();
  expect(getEventListeners(followed.signal, "abort")).toHaveLength(0);
});
