import type { LookupAddress } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { ANY_HOST, hostProblem, type HostPolicy } from "../../core/host-patterns.ts";
import { loopbackLookup } from "./loopback-lookup.ts";
import { OriginError } from "./origin-error.ts";

/** Says why an address must not be connected to; `undefined` when nothing is against it. */
export type AddressCheck = (address: string) => string | undefined;

/**
 * Where requests may go. Names are checked before anything is done for them; the addresses they lead to when a connection is
 * made, by the very answer that it is made with, so that a name server cannot say one thing to the check and another to the connection.
 */
export class OutboundGuard {
  readonly #hosts: HostPolicy;
  readonly #addressProblem: AddressCheck;
  readonly #ports: ReadonlySet<number> | undefined;
  /** For `net`, `tls` and `http` connections. They do not look literal addresses up: those are for {@link problemOf}. */
  readonly lookup: LookupFunction;

  /** @param ports `undefined`: any. */
  constructor(hosts: HostPolicy, addressProblem: AddressCheck, ports?: ReadonlySet<number>) {
    this.#hosts = hosts;
    this.#addressProblem = addressProblem;
    this.#ports = ports;
    this.lookup = (hostname, options, callback) => this.#lookUp(hostname, options, callback);
  }

  /** Why a host and port must not be asked. @param host IPv6 with or without brackets. */
  problemOf(host: string, port: number): string | undefined {
    const literal = host.replace(/^\[|\]$/g, "");
    const isPort = this.#ports?.has(port) ?? true;
    const problem = isPort ? hostProblem(this.#hosts, host, port) : `port ${port} is not allowed`;
    return problem ?? (isIP(literal) === 0 ? undefined : this.#addressProblem(literal));
  }

  #lookUp(...[hostname, options, callback]: Parameters<LookupFunction>): void {
    loopbackLookup(hostname, options, (error, found, family) => {
      if (error !== null) {
        callback(error, found, family);
        return;
      }
      const addresses =
        typeof found === "string" ? [{ address: found, family: family ?? 0 }] : found;
      const allowed = addresses.filter(
        ({ address }) => this.#addressProblem(address) === undefined,
      );
      if (allowed.length === addresses.length) callback(null, found, family);
      else if (allowed.length > 0) callback(null, ...asAsked(allowed, options.all === true));
      else callback(this.#denied(hostname, addresses), "", 0);
    });
  }

  #denied(hostname: string, addresses: readonly LookupAddress[]): OriginError {
    const [first] = addresses;
    const why = first === undefined ? "it has no address" : this.#addressProblem(first.address);
    return new OriginError("origin_denied", `${hostname}: ${why ?? "its address is not allowed"}`);
  }
}

/** Nothing is kept from anybody. */
export const OPEN_GUARD = new OutboundGuard(ANY_HOST, () => undefined);

function asAsked(
  addresses: LookupAddress[],
  isAll: boolean,
): [string | LookupAddress[], number | undefined] {
  const [first] = addresses;
  return isAll ? [addresses, undefined] : [first?.address ?? "", first?.family];
}
