import { readFileSync } from "node:fs";
import { Secret } from "@lacewing/observability/secret.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";

/** Shorter secrets can be guessed. */
const SECRET_LENGTH_MIN = 32;

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
