import { lookup as systemLookup, type LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";

/** RFC 6761 section 6.3: these names are loopback, whatever a name server says. IPv4 first, as most test servers listen there. */
const LOOPBACK: readonly LookupAddress[] = [
  { address: "127.0.0.1", family: 4 },
  { address: "::1", family: 6 },
];

/** Whether a name is `localhost` or ends in `.localhost`. */
export function isLoopbackName(hostname: string): boolean {
  const name = hostname.toLowerCase().replace(/\.$/, "");
  return name === "localhost" || name.endsWith(".localhost");
}

/** The system's name lookup, except that `*.localhost` never leaves the machine. For `net`, `tls` and `http` connections. */
export const loopbackLookup: LookupFunction = (hostname, options, callback) => {
  if (!isLoopbackName(hostname)) {
    systemLookup(hostname, options, callback);
    return;
  }
  const wanted = LOOPBACK.filter(({ family }) => {
    const only = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : options.family;
    return only === undefined || only === 0 || only === family;
  });
  const first = wanted[0] ?? { address: "127.0.0.1", family: 4 };
  // A callback that comes before the call returns would surprise the connecting socket.
  process.nextTick(() => {
    if (options.all === true) callback(null, [...wanted]);
    else callback(null, first.address, first.family);
  });
};
