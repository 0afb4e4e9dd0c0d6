import { CLOCK_SKEW_MS_MAX } from "@lacewing/contracts/lease-token.ts";
import { digestOfHex, taskIdOf } from "@lacewing/contracts/ids.ts";
import { expect, test } from "vitest";
import { type Delegation, DELEGATION_MS } from "../../app/delegations.ts";
import { decodeDelegation, encodeDelegation } from "./delegation-codec.ts";

const NOW_MS = 1_800_000_000_000;
const HEX = "ab".repeat(32);
const delegation: Delegation = {
  taskId: taskIdOf("o.test", [], () => HEX),
  fromHostId: "reader",
  means: { url: new URL("https://o.test/a?s=1"), headers: [["Cookie", "a=b"]], useTls: true },
  etag: '"v"',
  shown: {
    url: "https://o.test/a",
    sharingDomain: "o.test",
    anchor: digestOfHex(HEX) ?? "",
    tag: "t",
    application: "a",
    priority: 3,
  },
};

test("a delegation says until when it counts", () => {
  const bytes = encodeDelegation(delegation, NOW_MS);
  const received = { ...delegation, expiresAtMs: NOW_MS + DELEGATION_MS };
  expect(decodeDelegation(bytes, NOW_MS)).toEqual(received);
  expect(decodeDelegation(bytes, NOW_MS + DELEGATION_MS)).toEqual(received);
});

test("one that is over, or is to count for longer than any may, is refused", () => {
  const bytes = encodeDelegation(delegation, NOW_MS);
  const over = NOW_MS + DELEGATION_MS + CLOCK_SKEW_MS_MAX + 1;
  expect(decodeDelegation(bytes, over)).toBe("its time is over");
  expect(decodeDelegation(bytes, NOW_MS - CLOCK_SKEW_MS_MAX)).toBeTypeOf("object");
  expect(decodeDelegation(bytes, NOW_MS - CLOCK_SKEW_MS_MAX - 1)).toBe("it is to last too long");
});

test("a path that was written in another way than its URL has it is read so", () => {
  const path = "/a'{b}/./c?s='1'";
  const means = { ...delegation.means, url: new URL(path, "https://o.test"), path };
  const bytes = encodeDelegation({ ...delegation, means }, NOW_MS);
  expect(decodeDelegation(bytes, NOW_MS)).toMatchObject({ means: { url: means.url, path } });
});

test.each(["/a b", "/a\r\nHost: other", "/a\\b", "\\evil.test/a"])(
  "one that cannot stand in a request (%j) gives way to that of the URL",
  (path) => {
    const means = { ...delegation.means, path };
    const bytes = encodeDelegation({ ...delegation, means }, NOW_MS);
    const received = decodeDelegation(bytes, NOW_MS);
    if (typeof received === "string") throw new TypeError(received);
    expect(received.means.path).toBeUndefined();
    expect(received.means.url.host).toBe("o.test");
  },
);
