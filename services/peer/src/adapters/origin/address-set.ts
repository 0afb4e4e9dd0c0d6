import { BlockList, isIP } from "node:net";

/** A set of IP addresses, given as networks. IPv4 written as IPv6 (`::ffff:a.b.c.d`) is the IPv4 address that it means. */
export class AddressSet {
  readonly #list = new BlockList();

  /** @throws {TypeError} when a text is no network; see {@link isNetwork}. */
  constructor(networks: readonly string[]) {
    for (const text of networks) {
      const network = parseNetwork(text);
      if (network === undefined) throw new TypeError(`"${text}" is no network`);
      this.#list.addSubnet(network.address, network.prefix, network.family);
    }
  }

  has(address: string): boolean {
    const family = isIP(address);
    // A zone (`fe80::1%eth0`) says which link, not which address.
    if (family === 0) return false;
    return this.#list.check(address.split("%", 1)[0] ?? "", family === 4 ? "ipv4" : "ipv6");
  }
}

/** Whether a text is an address (`10.1.2.3`, `fd00::1`) or a network (`10.0.0.0/8`, `fd00::/8`). */
export function isNetwork(text: string): boolean {
  return parseNetwork(text) !== undefined;
}

function parseNetwork(
  text: string,
):
  | { readonly address: string; readonly prefix: number; readonly family: "ipv4" | "ipv6" }
  | undefined {
  const [address = "", length, ...more] = text.split("/");
  const family = isIP(address);
  if (family === 0 || address.includes("%") || more.length > 0) return undefined;
  const bits = family === 4 ? 32 : 128;
  if (length !== undefined && !/^\d{1,3}$/.test(length)) return undefined;
  const prefix = length === undefined ? bits : Number(length);
  return prefix > bits ? undefined : { address, prefix, family: family === 4 ? "ipv4" : "ipv6" };
}
