import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SettingsError } from "@lacewing/runtime/settings.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { OPEN_ACCESS } from "./adapters/http-proxy/client-access.ts";
import { OutboundGuard } from "./adapters/origin/outbound-guard.ts";
import { matchRule } from "./core/rules.ts";
import { loadPeerFileSettings } from "./rules-config.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lw-rules-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function load(yaml: string) {
  const path = join(folder, "peer.yaml");
  writeFileSync(path, yaml);
  return loadPeerFileSettings(path);
}

test("without a file there are the built-in rules and no limits", () => {
  const settings = loadPeerFileSettings(undefined);
  expect(settings.rules.length).toBeGreaterThan(0);
  expect(settings).toMatchObject({ access: OPEN_ACCESS, storeQuotaBytes: undefined });
  expect(settings.connectPorts).toEqual([443]);
  expect(settings.guard.problemOf("127.0.0.1", 1)).toBeUndefined();
});

test("who may come in, and where to, is read and checked", () => {
  const usersFile = join(folder, "users");
  writeFileSync(usersFile, "ann:correct-horse-battery\n", { mode: 0o600 });
  const { access, connectPorts, guard } = load(`
proxy:
  usersFile: ${usersFile}
  clientNetworks: [10.0.0.0/8]
  clientConnectionsMax: 7
  names: [Proxy.example]
  requestBodyMax: 1GiB
  connectPorts: any
origin:
  allowedHosts: ["*.example:443"]
  deniedHosts: [secret.example]
  deniedNetworks: [169.254.0.0/16]
`);
  expect(access).toMatchObject({
    names: ["Proxy.example"],
    clientCountMax: 7,
    requestBodyBytesMax: 2 ** 30,
  });
  expect(access.users?.count).toBe(1);
  expect(access.networks?.has("10.1.1.1")).toBe(true);
  expect(access.networks?.has("11.1.1.1")).toBe(false);
  expect(connectPorts).toBeUndefined();
  expect(guard.problemOf("a.example", 443)).toBeUndefined();
  expect(guard.problemOf("a.example", 80)).toMatch(/not allowed/);
  expect(guard.problemOf("secret.example", 443)).toMatch(/denied/);
  for (const wrong of [
    "proxy: { clientNetworks: [10.0.0.0/40] }",
    "proxy: { connectPorts: all }",
    "proxy: { names: ['proxy.example:65001'] }",
    "origin: { allowedHosts: ['http://a'] }",
    "origin: { deniedNetworks: [example] }",
    `proxy: { usersFile: ${folder}/none }`,
  ]) {
    expect(() => load(wrong)).toThrow(SettingsError);
  }
});

test("an empty file is like none", () => {
  const guard: unknown = expect.any(OutboundGuard);
  expect(load("")).toEqual({ ...loadPeerFileSettings(undefined), guard });
});

test("a rule is read with its settings, and comes before the built-in ones", () => {
  const settings = load(`
proxy:
  connectPorts: [443]
  rules:
    - regex: ^https?://mirror\\.example/
      useTls: true
      redirect: near.example:8443
      filteredQueryParams: [session]
      access: public
      accessTtlMs: 1000
      whenOriginDown: serve
      share: mirrors
      tag: nightly
      application: ci
      priority: 0
      keepOnAbort: true
      prefetch: true
    - regex: example
      direct: true
store:
  quota: 200GiB
`);
  expect(settings.connectPorts).toEqual([443]);
  expect(settings.storeQuotaBytes).toBe(200 * 2 ** 30);
  expect(matchRule(settings.rules, new URL("http://mirror.example/x"))).toMatchObject({
    useTls: true,
    redirect: "near.example:8443",
    filteredQueryParams: ["session"],
    access: "public",
    accessTtlMs: 1000,
    whenOriginDown: "serve",
    share: "mirrors",
    tag: "nightly",
    application: "ci",
    priority: 0,
    keepOnAbort: true,
    prefetch: true,
    direct: false,
  });
  expect(matchRule(settings.rules, new URL("http://other.example/x"))?.direct).toBe(true);
});

test.each([
  [
    "proxy:\n  rules:\n    - regex: a\n    - regex: '('\n    - regex: '[z-a]'\n",
    [/rule 2: the regex "\(" does not compile: .*unterminated group/i, /rule 3: .*out of order/],
  ],
  ["proxy:\n  rules:\n    - regx: a\n", [/unknown key "regx"; did you mean "regex"\?/]],
  ["proxi: {}\n", [/unknown key "proxi"; did you mean "proxy"\?/]],
  [
    "proxy:\n  rules:\n    - { regex: a, redirect: 'https://b/' }\n",
    [/rules\.0\.redirect: .*without scheme/],
  ],
  ["proxy:\n  rules:\n    - { regex: a, accessTtlMs: 90000000 }\n", [/at most 86400000 ms/]],
  ["proxy:\n  connectPorts: [70000]\n", [/proxy\.connectPorts\.0/]],
  ["store:\n  quota: lots\n", [/store\.quota: not a size/]],
  ["origin:\n  caFile: /nowhere.pem\n", [/origin\.caFile: cannot read \/nowhere\.pem/]],
])("%j is refused with what is wrong", (yaml, messages) => {
  let told: unknown;
  try {
    load(yaml);
  } catch (error) {
    told = error;
  }
  expect(told).toBeInstanceOf(SettingsError);
  for (const message of messages) expect(String(told)).toMatch(message);
});

test("a file that holds no certificate is not taken for one", () => {
  const path = join(folder, "ca.pem");
  writeFileSync(path, "no certificate");
  expect(() => load(`origin:\n  hosts:\n    h.example:\n      caFile: ${path}\n`)).toThrow(
    /origin\.hosts\.h\.example\.caFile: .* holds no certificate/,
  );
});
