import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import type { Secret } from "@lacewing/observability/secret.ts";

/** Format of a sealed message; a reader that does not know it refuses. */
const VERSION = 1;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;
const KEY_LENGTH = 32;
const PURPOSE = "lacewing-delegation-v1";
const CIPHER = "aes-256-gcm";

/**
 * Seals what only one host of the cluster may read: AES-256-GCM under a key that is derived from the cluster's secret for this
 * purpose alone, with a random nonce for each message. That the message opens proves that its sender knows the secret; the
 * receiver's name is bound to it, so that it opens nowhere else.
 */
export function seal(secret: Secret, toHostId: string, plain: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_LENGTH);
  const cipher = createCipheriv(CIPHER, keyOf(secret), nonce);
  cipher.setAAD(boundTo(toHostId));
  const sealed = [cipher.update(plain), cipher.final()];
  return Buffer.concat([Uint8Array.of(VERSION), nonce, ...sealed, cipher.getAuthTag()]);
}

/** What was sealed for this host; `undefined` when it was not, or not by somebody who knows the secret. */
export function unseal(
  secret: Secret,
  ownHostId: string,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < 1 + NONCE_LENGTH + TAG_LENGTH || sealed[0] !== VERSION) return undefined;
  const nonce = sealed.subarray(1, 1 + NONCE_LENGTH);
  const content = sealed.subarray(1 + NONCE_LENGTH, sealed.length - TAG_LENGTH);
  const decipher = createDecipheriv(CIPHER, keyOf(secret), nonce, { authTagLength: TAG_LENGTH });
  decipher.setAAD(boundTo(ownHostId));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_LENGTH));
  try {
    return Buffer.concat([decipher.update(content), decipher.final()]);
  } catch {
    return undefined;
  }
}

function keyOf(secret: Secret): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret.reveal(), "", PURPOSE, KEY_LENGTH));
}

function boundTo(hostId: string): Uint8Array {
  return Buffer.from(`${PURPOSE}\0${hostId}`);
}
