import { redirectedUrl } from "../../app/redirected-url.ts";
import type { Rule } from "../../core/rules.ts";

/** For what is passed through: TLS where the rule demands it; "auto" is for downloads, which can be tried twice. */
export function ruledUrl(url: URL, rule: Rule | undefined): URL {
  if (rule === undefined) return url;
  const redirected = redirectedUrl(url, rule);
  if (rule.useTls !== true || redirected.protocol === "https:") return redirected;
  const secure = new URL(redirected);
  secure.protocol = "https:";
  return secure;
}
