import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { Secret } from "@lacewing/observability/secret.ts";
import { messageOf } from "./errors.ts";
import { SettingsError } from "./settings.ts";

/** Shorter secrets can be guessed. */
const SECRET_LENGTH_MIN = 32;

/**
 * The secret by which the hosts and schedulers of a cluster know each other.
 *
 * @throws {SettingsError} when the file cannot be read or holds too little.
 */
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

/** HMAC-SHA256 under the cluster's secret, as lease tokens are signed with. */
export function clusterHmac(secret: Secret): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => createHmac("sha256", secret.reveal()).update(bytes).digest();
}
