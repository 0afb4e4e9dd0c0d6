import { createHmac } from "node:crypto";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { signLeaseToken } from "@lacewing/contracts/lease-token.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import type { LeaseSigner } from "../../app/ports.ts";

/** Signs with the cluster's secret, which every host has. */
export class HmacLeaseSigner implements LeaseSigner {
  readonly #secret: Secret;

  constructor(secret: Secret) {
    this.#secret = secret;
  }

  sign(claims: LeaseTokenClaims): string {
    return signLeaseToken(claims, (bytes) =>
      createHmac("sha256", this.#secret.reveal()).update(bytes).digest(),
    );
  }
}
