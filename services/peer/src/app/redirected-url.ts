import type { Rule } from "../core/rules.ts";

/** The URL with the authority that a rule puts in the place of its own; applying it again changes nothing. */
export function redirectedUrl(url: URL, rule: Rule): URL {
  if (rule.redirect === undefined) return url;
  const redirected = new URL(url);
  // Setting a host without a port would leave the old one.
  redirected.port = "";
  redirected.host = rule.redirect;
  return redirected;
}
