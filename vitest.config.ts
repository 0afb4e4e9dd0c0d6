import { defineConfig } from "vitest/config";

/**
 * Tiers, cheapest first. unit: one module, no I/O beyond a temp dir. simulation: the real scheduler core under
 * a virtual clock. integration: one service against real NATS and Postgres. e2e: the whole cluster and real clients.
 */
export default defineConfig({
  test: {
    projects: [
      tier("unit", [
        "{contracts,observability,migrations}/src/**/*.test.ts",
        "services/*/src/**/*.test.ts",
        "deploy/local/src/**/*.test.ts",
        "test/{architecture,support,demo,fuzz}/**/*.test.ts",
      ]),
      tier("simulation", ["test/simulation/**/*.test.ts"]),
      tier("integration", ["test/integration/**/*.test.ts"], 120_000),
      tier("e2e", ["test/e2e/**/*.test.ts"], 300_000),
    ],
  },
});

function tier(name: string, include: string[], testTimeout = 20_000) {
  const serial = name === "integration" || name === "e2e";
  return {
    test: {
      name,
      include,
      exclude: ["**/dist/**", "**/node_modules/**"],
      testTimeout,
      hookTimeout: testTimeout,
      // Vitest itself would leave one core idle, which is half of a small machine.
      ...(serial ? { fileParallelism: false } : { maxWorkers: "100%" }),
    },
  };
}
