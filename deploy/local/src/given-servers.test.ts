import { createServer } from "node:net";
import { once } from "node:events";
import { expect, test } from "vitest";
import { LocalError } from "./local-error.ts";
import { checkAddresses, reachNats } from "./given-servers.ts";

function refusalOf(env: Readonly<Record<string, string>>): LocalError | undefined {
  try {
    checkAddresses(env);
    return undefined;
  } catch (error) {
    if (error instanceof LocalError) return error;
    throw error;
  }
}

test.each([
  ["LACEWING_NATS_URL", ":::", "nats://user:password@host:4222"],
  ["LACEWING_NATS_URL", "127.0.0.1:4222", "nats://user:password@host:4222"],
  ["LACEWING_NATS_URL", "nats://a:4222,b", "nats://user:password@host:4222"],
  ["LACEWING_DATABASE_URL", "foo", "postgres://user:password@host:5432/database"],
  ["LACEWING_DATABASE_URL", "mysql://a/b", "postgres://user:password@host:5432/database"],
  ["OTEL_EXPORTER_OTLP_ENDPOINT", "foo", "http://host:4318"],
  ["OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "http://host:4318"],
])(
  "%s=%s is refused by the variable's name, and told what it should look like",
  (name, value, example) => {
    const refusal = refusalOf({ [name]: value });
    expect(refusal?.message).toContain(name);
    expect(refusal?.hint).toContain(example);
  },
);

test.each([
  { LACEWING_NATS_URL: "nats://user:pass@a:4222, tls://b" },
  { LACEWING_DATABASE_URL: "postgresql://user:pass@[::1]:5432/lacewing?sslmode=require" },
  { LACEWING_DATABASE_URL: "postgres:///lacewing?host=/run/postgresql" },
  { OTEL_EXPORTER_OTLP_ENDPOINT: "https://collector/v1" },
  { LACEWING_NATS_URL: "", LACEWING_DATABASE_URL: "", OTEL_EXPORTER_OTLP_ENDPOINT: "" },
])("%o is taken; empty counts as unset", (env) => {
  expect(refusalOf(env)).toBeUndefined();
});

test("an address may hold a password: it is not shown", () => {
  const refusal = refusalOf({ LACEWING_NATS_URL: "http://u:top-secret@a" });
  expect(refusal?.message).toContain("LACEWING_NATS_URL");
  expect(`${refusal?.message} ${refusal?.hint}`).not.toContain("top-secret");
});

test("a NATS that is not there is named, without its password", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  server.close();
  await once(server, "close");
  const reaching = reachNats(`nats://user:top-secret@127.0.0.1:${port}`);
  await expect(reaching).rejects.toThrow(`cannot connect to NATS at 127.0.0.1:${port}: `);
  await expect(reaching).rejects.not.toThrow("top-secret");
});

test("a port that accepts and says nothing is given up after a few seconds", async () => {
  const server = createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  await expect(reachNats(`nats://127.0.0.1:${port}`)).rejects.toThrow("cannot connect to NATS");
  server.close();
}, 20_000);
