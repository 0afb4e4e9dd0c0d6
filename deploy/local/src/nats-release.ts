/** The release we fetch when the machine has no nats-server, and what its archives must hash to. */
export const NATS_RELEASE = {
  version: "2.10.29",
  /** From the publisher's own image recipe: nats-io/nats-docker, 2.10.x/alpine3.22/Dockerfile at ef05cf93. */
  sha256: {
    x64: "e314da74a83a1d3876db8814c27eb990fe729640fd6452025b441bcede8390da",
    arm64: "da4b27942ecfb4c5f0c54553d2e7f470ddda9d7581cfe8131b351a0e223ed401",
  },
} as const;

/** The oldest server the streams work on: the client needs its consumer API, older ones were never tried. */
export const NATS_VERSION_MIN = "2.9.10";

/** Where the archive of {@link NATS_RELEASE} is, and its digest; `undefined` for machines we have no digest for. */
export function natsArchive(
  platform: NodeJS.Platform,
  arch: NodeJS.Architecture,
): { readonly url: string; readonly folder: string; readonly sha256: string } | undefined {
  if (platform !== "linux" || (arch !== "x64" && arch !== "arm64")) return undefined;
  const { version, sha256 } = NATS_RELEASE;
  const folder = `nats-server-v${version}-linux-${arch === "x64" ? "amd64" : "arm64"}`;
  return {
    url: `https://github.com/nats-io/nats-server/releases/download/v${version}/${folder}.tar.gz`,
    folder,
    sha256: sha256[arch],
  };
}

/** The version in `nats-server: v2.9.10` or `v2.11.0-RC.1`, without any suffix; `undefined` when there is none. */
export function parseNatsVersion(text: string): string | undefined {
  return /\bv?(\d+\.\d+\.\d+)\b/.exec(text)?.[1];
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. Both are `x.y.z`. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  const differing = left.findIndex((part, index) => part !== right[index]);
  return differing === -1 ? 0 : (left[differing] ?? 0) - (right[differing] ?? 0);
}
