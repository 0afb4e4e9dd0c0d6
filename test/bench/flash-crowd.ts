import { join } from "node:path";
import { startTestCluster } from "../support/cluster.ts";
import { seededContent } from "../support/content.ts";
import { httpGet } from "../support/http.ts";
import { startLfsOriginProcess } from "../support/lfs-origin-process.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { formatRate, formatSize, parseRate, parseSize } from "../support/units.ts";

/** The same content at once through every host of a local cluster, beside one direct download of it. */
export async function runFlashCrowd(options: {
  readonly size: string;
  readonly rate: string;
}): Promise<void> {
  const sizeBytes = parseSize(options.size);
  const rateBytesPerSecond = parseRate(options.rate);
  await using folder = await makeTempDir("bench-flash");
  await using origin = await startLfsOriginProcess({ rateBytesPerSecond });
  await using cluster = await startTestCluster({ dataDir: join(folder.path, "cluster") });
  await origin.putFile("direct.bin", seededContent("flash", sizeBytes));
  await origin.putFile("resolve/main/shared.bin", seededContent("flash", sizeBytes));
  const direct = await timed(() => httpGet(`${origin.url}/files/direct.bin`));
  await origin.resetStats();
  const url = `${origin.url}/files/resolve/main/shared.bin`;
  const seconds = await Promise.all(
    cluster.file.peers.map(({ proxyUrl }) => timed(() => httpGet(url, { proxyUrl }))),
  );
  const stats = await origin.stats();
  process.stdout.write(
    [
      `${formatSize(sizeBytes)} through ${seconds.length} hosts at once, origin ${formatRate(rateBytesPerSecond)}`,
      `direct, alone: ${direct.toFixed(2)} s`,
      `slowest host: ${Math.max(...seconds).toFixed(2)} s, ${(Math.max(...seconds) / direct).toFixed(2)}x direct`,
      `origin served ${(stats.content.bytes / sizeBytes).toFixed(3)} copies (${stats.probe.bytes} probe bytes apart)`,
      "",
    ].join("\n"),
  );
}

async function timed(download: () => Promise<{ readonly isComplete: boolean }>): Promise<number> {
  const startedAtMs = performance.now();
  const { isComplete } = await download();
  if (!isComplete) throw new Error("a download was not complete");
  return (performance.now() - startedAtMs) / 1000;
}
