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

/** Reads `host`, `host:port`, `*.domain`, `[::1]:443`. @returns `undefined` when the text is none of these. */
export function parseHostPattern(text: string): HostPattern | undefined {
  const match = /^(\*\.)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i.exec(text.trim());
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (match?.[2] === undefined || (port !== undefined && (port < 1 || port > 65_535))) {
    return undefined;
  }
  return { name: plainName(match[2]), isWildcard: match[1] !== undefined, port };
}

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

/** A final dot, brackets and case make no other host. */
function plainName(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "");
}
