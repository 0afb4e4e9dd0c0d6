import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { PortError } from "@lacewing/runtime/errors.ts";
import { createPool } from "@lacewing/scheduler/adapters/postgres/pool.ts";
import { PostgresProjectionStore } from "@lacewing/scheduler/adapters/postgres/projection-store.ts";
import { PostgresStoredFacts } from "@lacewing/scheduler/adapters/postgres/stored-facts.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { storedFactsContract } from "../contract/stored-facts-contract.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres();
});
afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

storedFactsContract("facts in Postgres", async () => {
  const log = createMemoryLog();
  const url = await postgres.createMigratedDatabase();
  const pool = createPool(url, { applicationName: "stored-facts-test", log });
  const store = new PostgresProjectionStore({ pool, clock: systemClock, log });
  return {
    store,
    facts: new PostgresStoredFacts(pool),
    close: async () => {
      await store.close();
      await pool.end();
    },
  };
});

test("a database that is away is a failure that may mend by itself", async () => {
  const pool = createPool("postgres://nobody@127.0.0.1:1/none", {
    applicationName: "stored-facts-test",
    log: createMemoryLog(),
  });
  const failure: unknown = await new PostgresStoredFacts(pool).task("00").catch((e: unknown) => e);
  expect(failure).toBeInstanceOf(PortError);
  expect(failure).toMatchObject({ code: "database_unavailable", retryable: true });
  await pool.end();
});
