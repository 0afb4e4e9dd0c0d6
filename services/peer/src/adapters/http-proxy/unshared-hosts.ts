import type { Log } from "@lacewing/observability/log.ts";
import { dropOldest } from "../../core/drop-oldest.ts";

/** Hosts remembered as told; when there are more, the one told first may be told again. */
const HOST_COUNT_MAX = 1024;

/** Why requests to a host do not use peers, and what to do about it. */
const FIX = {
  no_rule: "add a rule to proxy.rules whose regex matches the URL without its query",
  connection_credentials:
    "clients show NTLM or Negotiate, which is for one connection only; let them use another scheme (Basic, a token) if the server takes one",
  connect_tunnel:
    "TLS tunnels are passed on untouched; let the client ask for http://PROXY/url/https://HOST/… (for git: url.<that>.insteadOf)",
} as const;

/** Says once per host why its requests do not use peers: the question everybody has when a proxy seems to do nothing. */
export class UnsharedHosts {
  readonly #log: Log;
  readonly #told = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param example the URL without its query, when it is known. */
  tell(reason: keyof typeof FIX, host: string, example?: string): void {
    const key = `${reason} ${host}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    dropOldest(this.#told, HOST_COUNT_MAX);
    this.#log.info("request_not_shared", {
      host,
      reason,
      fix: FIX[reason],
      ...(example === undefined ? {} : { url: example }),
    });
  }
}
