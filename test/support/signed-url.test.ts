import { expect, test } from "vitest";
import { createUrlSigner } from "./signed-url.ts";

const HOST = "127.0.0.1:4000";
const PATH = "/storage/ab/cd/abcd";

function signerAt(clock: { nowMs: number }) {
  return createUrlSigner({ secret: "s", expiresSeconds: 60, now: () => clock.nowMs });
}

function refusalOf(signer: ReturnType<typeof signerAt>, target: string, host = HOST) {
  const url = new URL(target, `http://${host}`);
  return signer.refusalOf({ host, path: url.pathname, query: url.searchParams });
}

test("a signed URL is accepted, with its parameters in any order", () => {
  const signer = signerAt({ nowMs: 1_703_143_864_000 });
  const url = signer.sign({ host: HOST, path: PATH });
  expect(refusalOf(signer, url)).toBeUndefined();
  const query = [...new URL(url, "http://x").searchParams].toReversed();
  expect(refusalOf(signer, `${PATH}?${new URLSearchParams(query).toString()}`)).toBeUndefined();
});

test("it carries GitHub's parameters and differs each time within one second", () => {
  const signer = signerAt({ nowMs: 1_703_143_864_000 });
  const [first, second] = [0, 1].map(() => signer.sign({ host: HOST, path: PATH }));
  expect(first).not.toBe(second);
  expect([...new URL(first ?? "", "http://x").searchParams.keys()].toSorted()).toEqual([
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "actor_id",
    "key_id",
    "repo_id",
    "token",
  ]);
});

test("another path, host, parameter or secret is refused", () => {
  const signer = signerAt({ nowMs: 1_703_143_864_000 });
  const url = signer.sign({ host: HOST, path: PATH });
  expect(refusalOf(signer, url.replace("abcd?", "abce?"))).toBe("signature_wrong");
  expect(refusalOf(signer, url, "other:1")).toBe("signature_wrong");
  expect(refusalOf(signer, url.replace("Expires=60", "Expires=6000"))).toBe("signature_wrong");
  expect(refusalOf(signer, PATH)).toBe("signature_missing");
});

test("a URL dies after its time", () => {
  const clock = { nowMs: 1_703_143_864_000 };
  const signer = signerAt(clock);
  const url = signer.sign({ host: HOST, path: PATH });
  clock.nowMs += 59_000;
  expect(refusalOf(signer, url)).toBeUndefined();
  clock.nowMs += 1_000;
  expect(refusalOf(signer, url)).toBe("signature_expired");
});
