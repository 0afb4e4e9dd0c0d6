import type { IncomingMessage } from "node:http";
import type { HeaderList } from "../../app/ports.ts";
import { headerValues } from "../../core/http-headers.ts";
import type { AddressSet } from "../origin/address-set.ts";
import type { ProxyUsers } from "./proxy-users.ts";
import type { RequestProblem } from "./request-checks.ts";

/** Clients connected at once; each costs a socket and some kernel memory. */
export const CLIENT_COUNT_DEFAULT = 4096;
/** The first line's part of the head: signed URLs have some 2 KiB, and servers take 8 to 16 KiB. */
export const URL_LENGTH_MAX = 16 * 1024;
/** Addresses that were refused and are logged once; the one told first may be told again. */
export const TOLD_ADDRESS_COUNT_MAX = 1024;

/** Who may use the proxy port, and how much of it. */
export interface ClientAccess {
  /** Who has to say who he is; `undefined`: nobody. */
  readonly users: ProxyUsers | undefined;
  /** Where clients may come from; `undefined`: from anywhere. */
  readonly networks: AddressSet | undefined;
  /** Hosts by which clients of the URL prefix name this port, besides addresses and the machine's own name. */
  readonly names: readonly string[];
  /** Clients connected at once. */
  readonly clientCountMax: number;
  /** Bytes that a request may bring along to its origin; `undefined`: any number. */
  readonly requestBodyBytesMax: number | undefined;
}

/** Whoever reaches the port may use it. */
export const OPEN_ACCESS: ClientAccess = {
  users: undefined,
  networks: undefined,
  names: [],
  clientCountMax: CLIENT_COUNT_DEFAULT,
  requestBodyBytesMax: undefined,
};

/** A refusal with what the client needs to do better. */
export interface AccessProblem extends RequestProblem {
  readonly headers?: Readonly<Record<string, string>>;
}

/** RFC 7617: secrets may hold any character. */
const CHALLENGE = { "Proxy-Authenticate": 'Basic realm="lacewing", charset="UTF-8"' } as const;

const NOT_AUTHENTICATED =
  "this proxy wants to know who you are: send Proxy-Authorization (curl --proxy-user NAME:SECRET; by the " +
  "URL prefix, git -c http.extraHeader='Proxy-Authorization: Basic …', because Authorization is for the origin)";

/** Why nobody is served who comes from an address. */
export function networkProblem(access: ClientAccess, address: string): AccessProblem | undefined {
  if (access.networks === undefined || access.networks.has(address)) return undefined;
  const reason = `clients from ${address} are not served here (proxy.clientNetworks)`;
  return { status: 403, reason };
}

/** Why a request is refused whatever it asks for: who sends it, how long its URL or its content is. */
export function accessProblem(
  access: ClientAccess,
  request: Pick<IncomingMessage, "url" | "headers">,
  received: HeaderList,
): AccessProblem | undefined {
  const urlLength = request.url?.length ?? 0;
  if (urlLength > URL_LENGTH_MAX) {
    return {
      status: 414,
      reason: `the URL has ${urlLength} characters; at most ${URL_LENGTH_MAX}`,
    };
  }
  if (access.users !== undefined && !isKnownUser(access.users, received)) {
    return { status: 407, reason: NOT_AUTHENTICATED, headers: CHALLENGE };
  }
  const bytes = Number(request.headers["content-length"] ?? 0);
  return bodyProblem(access.requestBodyBytesMax, bytes);
}

/** Why content of so many bytes does not go to an origin. */
export function bodyProblem(
  bytesMax: number | undefined,
  bytes: number,
): AccessProblem | undefined {
  if (bytesMax === undefined || bytes <= bytesMax) return undefined;
  return {
    status: 413,
    reason: `the request's content is longer than ${bytesMax} bytes (proxy.requestBodyMax)`,
  };
}

/** Two of them could be understood differently by two readers. */
function isKnownUser(users: ProxyUsers, received: HeaderList): boolean {
  const [credentials, ...more] = headerValues(received, "proxy-authorization");
  return more.length === 0 && users.isKnown(credentials);
}
