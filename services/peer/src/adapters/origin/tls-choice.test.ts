import type { Clock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { TlsChoice } from "./tls-choice.ts";

/** A choice under a clock of the test, with the hosts that were probed. */
function choiceOver(speaksTls: (hostname: string) => boolean) {
  const probed: string[] = [];
  const time = { ms: 0 };
  const clock: Clock = { now: () => time.ms, monotonic: () => time.ms, sleep: async () => {} };
  const choice = new TlsChoice(clock, async (hostname) => {
    probed.push(hostname);
    return speaksTls(hostname);
  });
  const ask = async (url: string, useTls: boolean | "auto" = "auto") =>
    (await choice.urlFor(new URL(url), useTls)).href;
  return { choice, probed, time, ask };
}

test("a plain-http URL on port 80 is asked by TLS when its host speaks it", async () => {
  const { ask, probed } = choiceOver((hostname) => hostname === "tls.example");
  expect(await ask("http://tls.example/a?b")).toBe("https://tls.example/a?b");
  expect(await ask("http://plain.example/a")).toBe("http://plain.example/a");
  expect(probed).toEqual(["tls.example", "plain.example"]);
});

test("other ports, https URLs and a rule that says so need no probe", async () => {
  const { ask, probed } = choiceOver(() => true);
  expect(await ask("http://h.example:8080/")).toBe("http://h.example:8080/");
  expect(await ask("https://h.example/")).toBe("https://h.example/");
  expect(await ask("http://h.example/", false)).toBe("http://h.example/");
  expect(await ask("http://h.example:8080/", true)).toBe("https://h.example:8080/");
  expect(probed).toEqual([]);
});

test("a host is probed once in ten minutes, also by requests that come together", async () => {
  const { ask, probed, time } = choiceOver(() => true);
  await Promise.all([ask("http://h.example/1"), ask("http://h.example/2")]);
  time.ms = 10 * 60_000 - 1;
  await ask("http://h.example/3");
  expect(probed).toHaveLength(1);
  time.ms += 1;
  await ask("http://h.example/4");
  expect(probed).toHaveLength(2);
});

test("a host that sends clients back to plain http is asked so", async () => {
  const { ask, choice } = choiceOver(() => true);
  choice.prefersPlain("h.example");
  expect(await ask("http://h.example/")).toBe("http://h.example/");
});
