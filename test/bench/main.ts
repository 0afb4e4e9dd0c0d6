import { runFlashCrowd } from "./flash-crowd.ts";
import { runPeer } from "./peer.ts";
import { runScheduler } from "./scheduler.ts";
import { runSmallObjects } from "./small-objects.ts";
import { countOf, parseOptions } from "../support/parse-options.ts";

/**
 * Benchmarks, each printing ratios taken in one run with the conditions beside them: `npm run bench -- <name>`. Never part
 * of the tests: this machine's times are nobody else's.
 */
const BENCHMARKS = {
  "flash-crowd":
    "the same object at once through three hosts: copies the origin served, time against one direct download",
  "small-objects":
    "many small Git LFS objects with the real client: direct, cold, then from the other host; --distance MS, of the origin",
  peer: "what a host moves, against nginx and direct: hits, cold starts, swarms, memory; --only NAME,… for parts, --size, --rounds, --link MBIT",
  scheduler:
    "grants per second, latency, event path, failover, replay; --only NAME,… for parts, --hosts N for another size",
} as const;

const { values, positionals } = parseOptions({
  count: { type: "string", default: "200" },
  size: { type: "string" },
  rate: { type: "string", default: "25MB/s" },
  rounds: { type: "string", default: "3" },
  distance: { type: "string" },
  only: { type: "string" },
  hosts: { type: "string" },
  link: { type: "string", default: "200" },
  help: { type: "boolean", default: false },
});

switch (values.help ? undefined : positionals[0]) {
  case "small-objects":
    await runSmallObjects({
      objectCount: countOf("count", values.count),
      size: values.size ?? "20KiB",
      rounds: countOf("rounds", values.rounds),
      distanceMs: values.distance === undefined ? 0 : countOf("distance", values.distance),
    });
    break;
  case "flash-crowd":
    await runFlashCrowd({ size: positionals[1] ?? "64MiB", rate: values.rate });
    break;
  case "peer": {
    const { only, size = "1GiB", rounds } = values;
    const linkMegabits = countOf("link", values.link);
    if (!(await runPeer({ only, size, rounds, linkMegabits }))) process.exitCode = 64;
    break;
  }
  case "scheduler":
    if (!(await runScheduler({ only: values.only, hosts: values.hosts }))) process.exitCode = 64;
    break;
  case undefined:
  default: {
    const lines = Object.entries(BENCHMARKS).map(([name, what]) => `  ${name.padEnd(16)}${what}`);
    process.stdout.write(`usage: npm run bench -- <name> [options]\n${lines.join("\n")}\n`);
    process.exitCode = values.help || positionals.length === 0 ? 0 : 64;
  }
}
