/** Which origins somebody may be sent to, by name and port. */
export interface HostPolicy {
  /** `undefined`: any host. */
  readonly allowed: readonly HostPattern[] | undefined;
  /** Counts before `allowed`. */
  readonly denied: readonly HostPattern[];
}

/** Everybody may go anywhere. */
export const ANY_HOST: HostPolicy = { allowed: undefined, denied: [] };

/** One entry of a list of hosts. */
export interface HostPattern {
  /** Lower case, without a final dot; IPv6 without brackets. */
  readonly name: string;
  /** `*.name`: names below it, not the name itself. */
  readonly isWildcard: boolean;
  /** `undefined`: any. */
  readonly port: number | undefined;
}

/** Writes a host as a parsed URL does: lower case, punycode, short IPv6 in brackets, dotted IPv4; `undefined` when it is none. */
export type UrlHostOf = (text: string) => string | undefined;

const PATTERN = /^(\*\.)?(\[[0-9a-f:.]+\]|[^:/?#@[\]\\%*\s]+)(?::(\d{1,5}))?$/i;

/**
 * Reads `host`, `host:port`, `*.domain`, `[::1]:443`. A host may be written in any way in which a client may: it is compared with
 * what a URL makes of theirs.
 *
 * @returns `undefined` when the text is none of these.
 */
export function parseHostPattern(text: string, urlHostOf: UrlHostOf): HostPattern | undefined {
  const match = PATTERN.exec(text.trim());
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match?.[2] === undefined || (port !== undefined && (port < 1 || port > 65_535))) {
    return undefined;
  }
  const host = urlHostOf(match[2]);
  if (host === undefined) return undefined;
  const name = plainName(host);
  const isWildcard = match[1] !== undefined;
  if (name === "" || name.endsWith(".") || (isWildcard && IS_ADDRESS.test(name))) return undefined;
  return { name, isWildcard, port };
}

/** A URL has no name whose last label is a number. */
const IS_ADDRESS = /:|\.\d+$/;

/**
 * Why nobody is sent to a host; `undefined` when nothing is against it. It goes by the name as it was asked for: which
 * addresses the name leads to is for whoever connects.
 *
 * @param host IPv6 with or without brackets.
 */
export function hostProblem(policy: HostPolicy, host: string, port: number): string | undefined {
  const name = plainName(host);
  if (policy.denied.some((pattern) => isMatch(pattern, name, port))) {
    return `${host}:${port} is denied here (origin.deniedHosts)`;
  }
  const isAllowed = policy.allowed?.some((pattern) => isMatch(pattern, name, port)) ?? true;
  return isAllowed ? undefined : `${host}:${port} is not allowed here (origin.allowedHosts)`;
}

function isMatch(pattern: HostPattern, name: string, port: number): boolean {
  if (pattern.port !== undefined && pattern.port !== port) return false;
  return pattern.isWildcard ? name.endsWith(`.${pattern.name}`) : name === pattern.name;
}

/** A final dot, brackets and case make no other host, and neither does IPv4 in the clothes of IPv6. */
function plainName(host: string): string {
  const name = host
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(name);
  if (mapped === null) return name;
  const numbers = mapped.slice(1).map((hex) => Number.parseInt(hex, 16));
  return numbers.map((number) => `${number >> 8}.${number & 255}`).join(".");
}
