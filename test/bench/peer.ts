import { messageOf } from "@lacewing/runtime/errors.ts";
import { parseSize } from "../support/units.ts";
import { findNginx } from "../support/nginx.ts";
import { findTool } from "../support/required-tool.ts";
import { runFlashCrowdOnLinks } from "./peer-flash.ts";
import { say } from "./peer-lab.ts";
import {
  runColdFromSlowOrigin,
  runColdLarge,
  runLocalLarge,
  runRemoteLarge,
} from "./peer-large.ts";
import { runMemory } from "./peer-memory.ts";
import { runAddedTtfb, runLocalSmall, runManyLfsObjects, runRemoteSmall } from "./peer-small.ts";
import { runSwarm } from "./peer-swarm.ts";
import { runTracing } from "./peer-tracing.ts";

interface Options {
  readonly sizeBytes: number;
  readonly rounds: number;
  /** Of each host in a network namespace, each way. */
  readonly linkMegabits: number;
}

interface Part {
  readonly title: string;
  /** Programs that it drives; without one of them it is skipped, with a line that says so. */
  readonly needs: readonly Tool[];
  readonly run: (options: Options) => Promise<void>;
}

type Tool = "nginx" | "curl" | "wrk" | "git-lfs" | "ip" | "tc";

/** What a peer is measured by; each part prints its figures beside their targets, the rival's name and the conditions. */
const PARTS: Readonly<Record<string, Part>> = {
  local: {
    title: "local hit of a large content, against nginx sendfile",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runLocalLarge(sizeBytes, rounds),
  },
  "local-small": {
    title: "local hit of 16 KiB that everybody may read, against nginx proxy_cache",
    needs: ["nginx", "wrk"],
    run: async ({ rounds }) => runLocalSmall(rounds),
  },
  remote: {
    title: "client, child, parent: a large content that another host has",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runRemoteLarge(sizeBytes, rounds),
  },
  "remote-small": {
    title: "16 KiB that another host has, scheduling included",
    needs: ["nginx", "curl"],
    run: async () => runRemoteSmall(),
  },
  lfs: {
    title: "5,000 Git LFS objects of 20 KiB with the real client",
    needs: ["git-lfs"],
    // One round of them takes minutes.
    run: async () => runManyLfsObjects(1),
  },
  "cold-slow": {
    title: "a large content that nobody has, from an origin at 100 MB/s",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runColdFromSlowOrigin(sizeBytes, rounds),
  },
  cold: {
    title: "a large content that nobody has, from an origin at full speed",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runColdLarge(sizeBytes, rounds),
  },
  ttfb: {
    title: "time to the first byte of a content that nobody has, beside the origin's own",
    needs: ["nginx", "curl"],
    run: async () => runAddedTtfb(),
  },
  flash: {
    title: "8 hosts in network namespaces with narrow links, one content at once",
    needs: ["nginx", "curl", "ip", "tc"],
    run: async ({ linkMegabits, sizeBytes }) => runFlashCrowdOnLinks(linkMegabits * 1e6, sizeBytes),
  },
  swarm: {
    title: "64 hosts on one machine, 800 downloads of 40 files, two hosts killed",
    needs: ["nginx", "curl"],
    run: async () => runSwarm(),
  },
  memory: {
    title: "memory and CPU at rest, while 10 GB are moved, and with many clients",
    needs: ["nginx", "curl"],
    run: async () => runMemory(),
  },
  tracing: {
    title: "CPU time with every request traced, beside none",
    needs: ["nginx", "curl", "wrk"],
    run: async ({ sizeBytes, rounds }) => runTracing(sizeBytes, rounds),
  },
};

/**
 * Runs the parts named in `only`, joined by commas, or all.
 *
 * @returns false when a name is not known, or size or rounds are none.
 */
export async function runPeer(options: {
  readonly only: string | undefined;
  readonly size: string;
  readonly rounds: string;
  readonly linkMegabits: number;
}): Promise<boolean> {
  const all = Object.entries(PARTS);
  const names = options.only?.split(",");
  const rounds = Number(options.rounds);
  const isCount = Number.isSafeInteger(rounds) && rounds >= 1;
  if (!isCount || names?.some((name) => !Object.hasOwn(PARTS, name)) === true) {
    const lines = all.map(([name, { title }]) => `  ${name.padEnd(16)}${title}`);
    say(
      `usage: npm run bench -- peer [--only NAME,…] [--size 1GiB] [--rounds N] [--link MBIT]\n${lines.join("\n")}`,
    );
    return false;
  }
  const sizeBytes = parseSize(options.size);
  for (const [name, part] of all) {
    if (names?.includes(name) === false) continue;
    say(`\n${name}: ${part.title}`);
    const missing = part.needs.filter((tool) => !isInstalled(tool));
    if (missing.length > 0) say(`skipped: ${missing.join(", ")} not installed`);
    else if (!(await hasRun(part, { sizeBytes, rounds, linkMegabits: options.linkMegabits })))
      process.exitCode = 1;
  }
  return true;
}

/** A part that fails does not keep the others from being measured. */
async function hasRun(part: Part, options: Options): Promise<boolean> {
  try {
    await part.run(options);
    return true;
  } catch (error) {
    say(`FAILED: ${messageOf(error)}`);
    return false;
  }
}

function isInstalled(tool: Tool): boolean {
  return (tool === "nginx" ? findNginx() : findTool(tool)) !== undefined;
}
