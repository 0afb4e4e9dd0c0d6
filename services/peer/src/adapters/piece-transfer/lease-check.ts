import { timingSafeEqual } from "node:crypto";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import type { HostId, TaskId } from "@lacewing/contracts/ids.ts";
import { type Hmac, verifyLeaseToken } from "@lacewing/contracts/lease-token.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import { clusterHmac } from "@lacewing/runtime/cluster-secret.ts";

/** The header that carries a lease's token. */
export const LEASE_HEADER = "lacewing-lease";

/** Why a token does not open a task here. */
export type LeaseRefusal = "malformed" | "forged" | "expired" | "other_host" | "other_task";

/** Checks tokens without asking anybody: they are signed with the cluster's secret. */
export class LeaseCheck {
  readonly #hostId: HostId;
  readonly #hmac: Hmac;

  constructor(clusterSecret: Secret, hostId: HostId) {
    this.#hostId = hostId;
    this.#hmac = clusterHmac(clusterSecret);
  }

  /** The claims of a token for a task on this host, or why it does not count. */
  check(token: string, taskId: TaskId, nowMs: number): LeaseTokenClaims | LeaseRefusal {
    const verify = { hmac: this.#hmac, equal: timingSafeEqual };
    const claims = verifyLeaseToken(token, nowMs, verify);
    if (typeof claims === "string") return claims;
    if (claims.parentHostId !== this.#hostId) return "other_host";
    return claims.taskId === taskId ? claims : "other_task";
  }
}
