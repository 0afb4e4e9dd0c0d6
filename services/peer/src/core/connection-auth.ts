import { headerValues, type HeaderList } from "./http-headers.ts";

/**
 * Schemes by which a server authenticates the connection instead of each request on it (RFC 4559, MS-NTHT): whoever sends the next
 * request on that connection is taken for the same user.
 */
const CREDENTIALS = /^\s*(?:ntlm|negotiate|kerberos)(?=\s|$)/i;
/** A challenge among others, of which one line may have several. A word within a quoted text that looks like one costs a connection. */
const CHALLENGE = /(?:^|,)\s*(?:ntlm|negotiate|kerberos)(?=[\s,]|$)/i;

/** Whether a request shows credentials that an origin may take for those of the whole connection. */
export function showsConnectionCredentials(headers: HeaderList): boolean {
  return headerValues(headers, "authorization").some((value) => CREDENTIALS.test(value));
}

/** Whether an answer wants such credentials, or goes on with them. */
export function wantsConnectionCredentials(headers: HeaderList): boolean {
  return headerValues(headers, "www-authenticate").some((value) => CHALLENGE.test(value));
}

/**
 * The answer's headers with the word that its client may show such credentials through this proxy, which clients look for when an
 * answer came by one (RFC 4559 section 6).
 */
export function withSessionSupport(headers: HeaderList): HeaderList {
  if (!wantsConnectionCredentials(headers)) return headers;
  return [...headers, ["Proxy-Support", "Session-Based-Authentication"]];
}
