import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { signLeaseToken } from "@lacewing/contracts/lease-token.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import { clusterHmac } from "@lacewing/runtime/cluster-secret.ts";

/** A token that a host signs for itself is used at once. */
const SELF_TOKEN_MS = 10 * 60_000;

/** A token for reading without a lease: hosts trust each other with the cluster's secret, and serve it last. */
export function signSelfToken(
  secret: Secret,
  nowMs: number,
  read: {
    readonly childHostId: string;
    readonly parentHostId: string;
    readonly taskId: string;
    readonly pieceCount: number;
  },
): string {
  const claims: LeaseTokenClaims = {
    leaseId: "unleased",
    taskId: read.taskId,
    childHostId: read.childHostId,
    parentHostId: read.parentHostId,
    pieces: [{ start: 0, count: read.pieceCount }],
    expiresAtMs: Math.round(nowMs) + SELF_TOKEN_MS,
    degraded: true,
    ahead: false,
  };
  return signLeaseToken(claims, clusterHmac(secret));
}
