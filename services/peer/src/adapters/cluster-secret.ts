import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import type { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { signLeaseToken } from "@lacewing/contracts/lease-token.ts";
import { Secret } from "@lacewing/observability/secret.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";

/** Shorter secrets can be guessed. */
const SECRET_LENGTH_MIN = 32;
/** A token that a host signs for itself is used at once. */
const SELF_TOKEN_MS = 10 * 60_000;

/** @throws {SettingsError} when the file cannot be read or holds too little. */
export function readClusterSecret(path: string): Secret {
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new SettingsError(
      `LACEWING_CLUSTER_SECRET_FILE: cannot read ${path}: ${messageOf(error)}`,
    );
  }
  if (text.length < SECRET_LENGTH_MIN) {
    throw new SettingsError(
      `LACEWING_CLUSTER_SECRET_FILE: ${path} holds ${text.length} characters, at least ${SECRET_LENGTH_MIN} are needed`,
    );
  }
  return new Secret(text);
}

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
  };
  return signLeaseToken(claims, (bytes) =>
    createHmac("sha256", secret.reveal()).update(bytes).digest(),
  );
}
