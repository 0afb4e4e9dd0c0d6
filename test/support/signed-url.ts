import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";

/**
 * Download URLs in the form that GitHub's LFS storage hands out: an S3 presigned URL with GitHub's own parameters. The
 * signature covers host, path and every other parameter, but is one HMAC instead of AWS's derived-key chain: nobody
 * but this origin checks it.
 */
export interface UrlSigner {
  readonly expiresSeconds: number;
  /** `path` with a fresh set of query parameters: no two calls return the same URL. */
  sign(request: { readonly host: string; readonly path: string }): string;
  /** Why a request is refused, or `undefined` when its signature is right and in time. */
  refusalOf(request: {
    readonly host: string;
    readonly path: string;
    readonly query: URLSearchParams;
  }): SignatureRefusal | undefined;
}

export type SignatureRefusal = "signature_missing" | "signature_wrong" | "signature_expired";

const SIGNATURE_PARAMETER = "X-Amz-Signature";

export function createUrlSigner(options: {
  readonly secret: string;
  readonly expiresSeconds: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}): UrlSigner {
  let actorCount = 0;
  return {
    expiresSeconds: options.expiresSeconds,
    sign({ host, path }) {
      const date = amzDate(options.now());
      actorCount += 1;
      const query = new URLSearchParams({
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": `LACEWINGTEST/${date.slice(0, 8)}/us-east-1/s3/aws4_request`,
        "X-Amz-Date": date,
        "X-Amz-Expires": String(options.expiresSeconds),
        "X-Amz-SignedHeaders": "host",
        // Other users, other keys: whatever a cache keys on must not be among these.
        actor_id: String(15_000_000 + actorCount),
        key_id: String(actorCount),
        repo_id: "392935134",
        token: randomUUID(),
      });
      query.set(SIGNATURE_PARAMETER, signatureOf(options.secret, host, path, query));
      return `${path}?${query.toString()}`;
    },
    refusalOf({ host, path, query }) {
      const given = query.get(SIGNATURE_PARAMETER);
      if (given === null) return "signature_missing";
      const unsigned = new URLSearchParams(query);
      unsigned.delete(SIGNATURE_PARAMETER);
      const expected = signatureOf(options.secret, host, path, unsigned);
      if (!isEqual(given, expected)) return "signature_wrong";
      const signedAt = parseAmzDate(query.get("X-Amz-Date") ?? "");
      const expiresAt = signedAt + Number(query.get("X-Amz-Expires")) * 1000;
      return options.now() < expiresAt ? undefined : "signature_expired";
    },
  };
}

function signatureOf(secret: string, host: string, path: string, query: URLSearchParams): string {
  const sorted = new URLSearchParams(query);
  sorted.sort();
  return createHmac("sha256", secret)
    .update([host.toLowerCase(), path, sorted.toString()].join("\n"))
    .digest("hex");
}

function isEqual(given: string, expected: string): boolean {
  const left = Buffer.from(given);
  const right = Buffer.from(expected);
  return left.length === right.length && timingSafeEqual(left, right);
}

/** `20231221T073104Z`, in whole seconds. */
function amzDate(epochMs: number): string {
  return new Date(epochMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
}

function parseAmzDate(text: string): number {
  const match = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null) return Number.NaN;
  const [, year, month, day, hour, minute, second] = match.map(Number);
  return Date.UTC(year ?? 0, (month ?? 1) - 1, day ?? 0, hour ?? 0, minute ?? 0, second ?? 0);
}
