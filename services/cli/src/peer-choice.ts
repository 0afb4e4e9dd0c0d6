import type { ClusterFile } from "@lacewing/local/cluster-file.ts";
import { CliError } from "./cli-error.ts";
import { type CliContext, DATA_OPTION, requireCluster } from "./context.ts";

/** Which host a command talks to. */
export interface PeerFlags {
  readonly data?: string;
  readonly host?: string;
  readonly socket?: string;
}

/** The options of every command that talks to one host, next to {@link DATA_OPTION}. */
export const PEER_OPTIONS: readonly (readonly [flags: string, description: string])[] = [
  DATA_OPTION,
  ["--host <hostId>", "host to ask (default: the first ordinary peer)"],
  ["--socket <path>", "API socket of a peer service that belongs to no local cluster"],
];

/**
 * The API socket of the host that the flags name.
 *
 * @throws {CliError} when no cluster is running, or it has no such host.
 */
export function socketOf(context: CliContext, flags: PeerFlags): string {
  if (flags.socket !== undefined) return flags.socket;
  return choosePeer(requireCluster(context, flags.data).cluster.peers, flags.host).apiSocket;
}

/** The named peer, else the first ordinary one, else the first. */
export function choosePeer(
  peers: ClusterFile["peers"],
  hostId: string | undefined,
): ClusterFile["peers"][number] {
  const found =
    hostId === undefined
      ? (peers.find(({ kind }) => kind === "normal") ?? peers[0])
      : peers.find((peer) => peer.hostId === hostId);
  if (found !== undefined) return found;
  throw new CliError(
    hostId === undefined ? "the cluster has no peers" : `the cluster has no host ${hostId}`,
    `Its hosts: ${peers.map((peer) => peer.hostId).join(", ") || "none"}.`,
  );
}
