import { LeaseTokenClaims } from "./gen/lacewing/assignments/v1/lease_token.ts";

/** HMAC-SHA256 under the cluster's secret; an argument, because this package performs nothing. */
export type Hmac = (bytes: Uint8Array) => Uint8Array;
/** Compares two equally long byte strings in a time that does not depend on where they differ. */
export type ConstantTimeEqual = (a: Uint8Array, b: Uint8Array) => boolean;

/** A token's text is not longer than this: the claims of a lease of many ranges. */
export const LEASE_TOKEN_LENGTH_MAX = 16_384;
/** Clocks of scheduler and parent may differ by this much before a live lease is refused. */
export const CLOCK_SKEW_MS_MAX = 5 * 60_000;

const CONTEXT = new TextEncoder().encode("lacewing-lease-v1\0");

/** `<claims>.<mac>`, both base64url. */
export function signLeaseToken(claims: LeaseTokenClaims, hmac: Hmac): string {
  const bytes = LeaseTokenClaims.encode(claims).finish();
  return `${toBase64Url(bytes)}.${toBase64Url(hmac(concat(CONTEXT, bytes)))}`;
}

export type LeaseTokenRefusal = "malformed" | "forged" | "expired";

/** The claims of a token, or why it does not count. */
export function verifyLeaseToken(
  token: string,
  nowMs: number,
  verify: { readonly hmac: Hmac; readonly equal: ConstantTimeEqual },
): LeaseTokenClaims | LeaseTokenRefusal {
  if (token.length > LEASE_TOKEN_LENGTH_MAX) return "malformed";
  const [claimsText, macText, ...rest] = token.split(".");
  const bytes = fromBase64Url(claimsText);
  const mac = fromBase64Url(macText);
  if (bytes === undefined || mac === undefined || rest.length > 0) return "malformed";
  const expected = verify.hmac(concat(CONTEXT, bytes));
  if (mac.length !== expected.length || !verify.equal(mac, expected)) return "forged";
  const claims = decodeClaims(bytes);
  if (claims === undefined) return "malformed";
  return claims.expiresAtMs + CLOCK_SKEW_MS_MAX < nowMs ? "expired" : claims;
}

/** A newer signer may write claims that this version cannot read: a refusal, not a crash of the parent. */
function decodeClaims(bytes: Uint8Array): LeaseTokenClaims | undefined {
  try {
    return LeaseTokenClaims.decode(bytes);
  } catch {
    return undefined;
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function toBase64Url(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text: string | undefined): Uint8Array | undefined {
  if (text === undefined || !/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) =>
      c.charCodeAt(0),
    );
  } catch {
    return undefined;
  }
}
