import type { ClusterFile } from "./cluster-file.ts";

/**
 * What a person needs to know of a running cluster: where everything is, and lines to paste. Plain text that fits 100
 * columns; `STORAGE` stands for the host that serves the user's large files.
 */
export function summaryOf(cluster: ClusterFile, dataDir: string): string {
  const proxy = cluster.peers.find((peer) => peer.kind === "normal")?.proxyUrl ?? "";
  const peers = cluster.peers.map(
    (peer) =>
      `  ${peer.hostId.padEnd(11)}${peer.proxyUrl}${peer.kind === "seed" ? "  (seed)" : ""}`,
  );
  const rows = [
    ["scheduler", cluster.schedulerAddress],
    ["NATS", hostOf(cluster.natsUrl)],
    ["PostgreSQL", hostOf(cluster.databaseUrl)],
    ["traces", cluster.tracesUrl ?? "sent to OTEL_EXPORTER_OTLP_ENDPOINT"],
    ["data", dataDir],
  ].map(([name = "", value = ""]) => `  ${name.padEnd(11)}${value}`);
  const sections = [
    ["Lacewing is ready. Proxies:", ...peers],
    ["Behind them:", ...rows],
    [
      "Any download, as a proxy or by URL prefix (shared when a rule wants it: LFS, registry blobs, hub files, your own):",
      `  curl -x ${proxy} -O http://STORAGE/FILE`,
      `  curl -O ${proxy}/url/https://STORAGE/FILE`,
    ],
    [
      "Git LFS by URL prefix (recommended: works with SSH remotes, needs no certificate):",
      "  git config --global lfs.transfer.enablehrefrewrite true",
      `  git config --global url.${proxy}/url/https://STORAGE/.insteadOf https://STORAGE/`,
    ],
    [
      "Git LFS through http.proxy:",
      `  git config --global http.proxy ${proxy}`,
      "  git config --global lfs.transfer.enablehrefrewrite true",
      "  git config --global url.http://STORAGE/.insteadOf https://STORAGE/",
    ],
    [
      "What it did, and how to end it:",
      `  npx lacewing sql "select * from cache_hit_rate_hourly"`,
      ...(cluster.tracesUrl === null
        ? []
        : [`  ${cluster.tracesUrl}/search?service=lacewing-peer`]),
      "  npx lacewing down",
    ],
  ];
  return sections.map((lines) => lines.join("\n")).join("\n\n");
}

/** `host:port/path` of a URL, without user and password. */
function hostOf(url: string): string {
  try {
    const { host, pathname } = new URL(url);
    return `${host}${pathname === "/" ? "" : pathname}`;
  } catch {
    return "as you gave it";
  }
}
