import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { type Hmac, signLeaseToken } from "@lacewing/contracts/lease-token.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import { clusterHmac } from "@lacewing/runtime/cluster-secret.ts";
import type { LeaseSigner } from "../../app/ports.ts";

/** Signs with the cluster's secret, which every host has. */
export class HmacLeaseSigner implements LeaseSigner {
  readonly #hmac: Hmac;

  constructor(secret: Secret) {
    this.#hmac = clusterHmac(secret);
  }

  sign(claims: LeaseTokenClaims): string {
    return signLeaseToken(claims, this.#hmac);
  }
}
