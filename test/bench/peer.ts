import { parseSize } from "../support/units.ts";
import { findNginx } from "../support/nginx.ts";
import { findTool } from "../support/required-tool.ts";
import { runColdLarge, runLocalLarge, runRemoteLarge } from "./peer-large.ts";
import { say } from "./peer-lab.ts";

interface Options {
  readonly sizeBytes: number;
  readonly rounds: number;
}

interface Part {
  readonly title: string;
  /** Programs that it drives; without one of them it is skipped, with a line that says so. */
  readonly needs: readonly Tool[];
  readonly run: (options: Options) => Promise<void>;
}

type Tool = "nginx" | "curl" | "wrk" | "git-lfs";

/** What a peer is measured by; each part prints its figures beside their targets, the rival's name and the conditions. */
const PARTS: Readonly<Record<string, Part>> = {
  local: {
    title: "local hit of a large content, against nginx sendfile",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runLocalLarge(sizeBytes, rounds),
  },
  remote: {
    title: "client, child, parent: a large content that another host has",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runRemoteLarge(sizeBytes, rounds),
  },
  cold: {
    title: "a large content that nobody has, from an origin at full speed",
    needs: ["nginx", "curl"],
    run: async ({ sizeBytes, rounds }) => runColdLarge(sizeBytes, rounds),
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
}): Promise<boolean> {
  const all = Object.entries(PARTS);
  const names = options.only?.split(",");
  const rounds = Number(options.rounds);
  const isCount = Number.isSafeInteger(rounds) && rounds >= 1;
  if (!isCount || names?.some((name) => !Object.hasOwn(PARTS, name)) === true) {
    const lines = all.map(([name, { title }]) => `  ${name.padEnd(16)}${title}`);
    say(
      `usage: npm run bench -- peer [--only NAME,…] [--size 1GiB] [--rounds N]\n${lines.join("\n")}`,
    );
    return false;
  }
  const sizeBytes = parseSize(options.size);
  for (const [name, part] of all) {
    if (names?.includes(name) === false) continue;
    say(`\n${name}: ${part.title}`);
    const missing = part.needs.filter((tool) => !isInstalled(tool));
    if (missing.length > 0) say(`skipped: ${missing.join(", ")} not installed`);
    else await part.run({ sizeBytes, rounds });
  }
  return true;
}

function isInstalled(tool: Tool): boolean {
  return (tool === "nginx" ? findNginx() : findTool(tool)) !== undefined;
}
