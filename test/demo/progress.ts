import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { formatSize } from "../support/units.ts";
import { SCENARIO_TITLES, type Scenario } from "./scenarios.ts";

/** Something that is going on. */
export interface Activity {
  end(): void;
}

/** What a person at a terminal sees while the experiment runs. Nobody else sees anything. */
export interface Progress {
  note(text: string): Activity;
  /** @param download.lfsFolder the client's LFS store: what lies in it is what has arrived */
  download(download: {
    readonly scenario: Scenario;
    readonly sizeBytes: number;
    readonly lfsFolder: string;
  }): Activity;
}

const REFRESH_MS = 200;
const BAR_CELLS = 28;

/** @param terminal usually `process.stderr`; when it is no terminal nothing is written. */
export function createProgress(terminal: NodeJS.WriteStream): Progress {
  if (!terminal.isTTY) {
    const silent: Activity = { end: () => {} };
    return { note: () => silent, download: () => silent };
  }
  return {
    note: (text) => startLine(terminal, async (seconds) => `${text} … ${seconds.toFixed(0)} s`),
    download: ({ scenario, sizeBytes, lfsFolder }) =>
      startLine(terminal, async (seconds) => {
        const part = Math.min(1, (await bytesBelow(lfsFolder)) / sizeBytes);
        const cells = Math.round(part * BAR_CELLS);
        const bar = "█".repeat(cells).padEnd(BAR_CELLS, "░");
        const title = SCENARIO_TITLES[scenario].padEnd(SCENARIO_TITLES.remote_peer.length);
        return `${formatSize(sizeBytes)}  ${title}  ${bar} ${(part * 100).toFixed(0).padStart(3)} %  ${seconds.toFixed(1)} s`;
      }),
  };
}

function startLine(
  terminal: NodeJS.WriteStream,
  render: (seconds: number) => Promise<string>,
): Activity {
  const startedAt = performance.now();
  let hasEnded = false;
  const draw = async () => {
    const line = await render((performance.now() - startedAt) / 1000);
    if (!hasEnded) terminal.write(`\r\u001B[2K${line.slice(0, terminal.columns - 1)}`);
  };
  void draw();
  const timer = setInterval(() => void draw(), REFRESH_MS);
  return {
    end: () => {
      hasEnded = true;
      clearInterval(timer);
      terminal.write("\r\u001B[2K");
    },
  };
}

/** Sum of the file sizes below a folder; files that come and go meanwhile count as nothing. */
async function bytesBelow(folder: string): Promise<number> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile());
    const sizes = await Promise.all(
      files.map(async (file) => (await stat(join(file.parentPath, file.name))).size),
    );
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return 0;
  }
}
