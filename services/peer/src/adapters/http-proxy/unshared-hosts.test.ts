import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { expect, test } from "vitest";
import { UnsharedHosts } from "./unshared-hosts.ts";

test("a host is told once per reason, with what to do", () => {
  const log = createMemoryLog();
  const hosts = new UnsharedHosts(log);
  for (let round = 0; round < 3; round++) {
    hosts.tell("no_rule", "a.example", "https://a.example/x");
    hosts.tell("connect_tunnel", "a.example");
  }
  expect(log.entries.map(({ fields }) => [fields["reason"], fields["host"]])).toEqual([
    ["no_rule", "a.example"],
    ["connect_tunnel", "a.example"],
  ]);
  expect(log.entries.every(({ fields }) => typeof fields["fix"] === "string")).toBe(true);
});

test("of very many hosts only the latest are remembered", () => {
  const log = createMemoryLog();
  const hosts = new UnsharedHosts(log);
  for (let index = 0; index < 1025; index++) hosts.tell("no_rule", `h${index}.example`);
  hosts.tell("no_rule", "h1024.example");
  expect(log.entries).toHaveLength(1025);
  hosts.tell("no_rule", "h0.example");
  expect(log.entries).toHaveLength(1026);
});
