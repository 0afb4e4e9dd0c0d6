import type { HostPolicy } from "../../core/host-patterns.ts";
import { AddressSet } from "./address-set.ts";
import { OutboundGuard } from "./outbound-guard.ts";

/**
 * Addresses that a remote host must not have us read: our own machine and network, what is no place on the internet, and what
 * leads to such an address through a translation. IANA special-purpose registries, and the two metadata services of clouds that
 * have public addresses.
 */
const NOT_PUBLIC: readonly string[] = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  // Azure's wire server.
  "168.63.129.16",
  // Unspecified, loopback and IPv4-compatible addresses.
  "::/96",
  // Translations of IPv4: NAT64, 6to4, Teredo, ISATAP's friends in the local prefix.
  "64:ff9b::/96",
  "64:ff9b:1::/48",
  "2002::/16",
  "2001::/32",
  "100::/64",
  "2001:db8::/32",
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
];

/** What a host may be made to read by others. */
export interface RemotePolicy {
  /** Exceptions from the addresses that are not public. */
  readonly allowedNetworks: readonly string[];
  readonly ports: readonly number[];
}

/** Where requests may go that a remote host asks for, on top of what this host's own clients may ask. */
export function remoteGuard(
  hosts: HostPolicy,
  deniedNetworks: readonly string[],
  { allowedNetworks, ports }: RemotePolicy,
): OutboundGuard {
  const notPublic = new AddressSet(NOT_PUBLIC);
  const allowed = new AddressSet(allowedNetworks);
  const denied = new AddressSet(deniedNetworks);
  const addressProblem = (address: string): string | undefined => {
    const isDenied = denied.has(address) || (notPublic.has(address) && !allowed.has(address));
    return isDenied
      ? `${address} is not read for other hosts (delegation.allowedNetworks)`
      : undefined;
  };
  return new OutboundGuard(hosts, addressProblem, new Set(ports));
}
