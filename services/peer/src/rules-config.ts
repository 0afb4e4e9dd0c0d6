import { readFileSync } from "node:fs";
import { messageOf } from "@lacewing/runtime/errors.ts";
import {
  byteSize,
  durationMs,
  readSettingsFile,
  SettingsError,
} from "@lacewing/runtime/settings.ts";
import { z } from "zod";
import { CLIENT_COUNT_DEFAULT, type ClientAccess } from "./adapters/http-proxy/client-access.ts";
import { readProxyUsers } from "./adapters/http-proxy/proxy-users.ts";
import { AddressSet, isNetwork } from "./adapters/origin/address-set.ts";
import type { OriginTrust } from "./adapters/origin/origin-connections.ts";
import { OutboundGuard } from "./adapters/origin/outbound-guard.ts";
import { remoteGuard } from "./adapters/origin/remote-guard.ts";
import { urlHostOf } from "./adapters/url-host.ts";
import { parseHostPattern } from "./core/host-patterns.ts";
import {
  ACCESS_TTL_MS_DEFAULT,
  PRIORITY,
  regexProblem,
  ruleOf,
  rulesInOrder,
  type Rule,
} from "./core/rules.ts";

/** Rules are tried one after the other for every request. */
const RULE_COUNT_MAX = 1000;
/** As an event carries it; see `contracts/src/limits.ts` for the limit of all texts. */
const NAME_LENGTH_MAX = 200;
/** Sockets that a process can have open at all, on most systems. */
const CLIENT_COUNT_MAX = 1_000_000;
/** A permission that holds longer than a day is no check any more. */
const ACCESS_TTL_MS_MAX = 24 * 60 * 60_000;

const name = z.string().max(NAME_LENGTH_MAX);
const authority = z
  .string()
  .refine(isAuthority, "must be a host or host:port, without scheme and path");
const port = z.number().int().min(1).max(65_535);

const hosts = z.array(
  z.string().transform((text, context) => {
    const pattern = parseHostPattern(text, urlHostOf);
    if (pattern !== undefined) return pattern;
    context.addIssue({ code: "custom", message: `"${text}" is not host, host:port or *.domain` });
    return z.NEVER;
  }),
);
const networks = z.array(
  z.string().refine(isNetwork, "is not an address or a network such as 10.0.0.0/8"),
);

const ruleSchema = z.strictObject({
  regex: z
    .string()
    .min(1)
    .describe(
      "Searched in the URL without user info, query and fragment; the first rule that matches decides.",
    ),
  useTls: z
    .union([z.boolean(), z.literal("auto")])
    .default("auto")
    .describe(
      "Ask a plain-http URL by TLS. auto: try TLS first on port 80, remembered per host for 10 minutes.",
    ),
  redirect: authority
    .optional()
    .describe("Host or host:port that replaces the URL's own, for example of a mirror nearby."),
  direct: z.boolean().default(false).describe("Stream from the origin, without peers and store."),
  filteredQueryParams: z
    .array(z.string().min(1))
    .default([])
    .describe("Query parameters that do not name the content, besides the built-in ones."),
  access: z
    .enum(["origin", "public"])
    .default("origin")
    .describe(
      "origin: ask the origin whether the client may read. public: do not ask when the digest is known.",
    ),
  accessTtlMs: durationMs(ACCESS_TTL_MS_DEFAULT)
    .refine((ms) => ms <= ACCESS_TTL_MS_MAX, `must be at most ${ACCESS_TTL_MS_MAX} ms`)
    .describe("Milliseconds for which the origin's yes to one credential and path holds."),
  whenOriginDown: z
    .enum(["refuse", "serve"])
    .default("refuse")
    .describe("What a client gets of held content while the origin cannot be asked."),
  share: name
    .min(1)
    .optional()
    .describe(
      "Sharing domain: rules with the same name share copies across origins. Default: the origin's authority.",
    ),
  tag: name.default("").describe("Recorded with downloads, for reports."),
  application: name.default("").describe("Recorded with downloads, for reports."),
  priority: z
    .number()
    .int()
    .min(PRIORITY.min)
    .max(PRIORITY.max)
    .default(PRIORITY.default)
    .describe(`${PRIORITY.min} is served first, ${PRIORITY.max} last.`),
  keepOnAbort: z
    .boolean()
    .default(false)
    .describe(
      "Fetch what a client had begun to get to its end although the client left: four contents at once, for four hours at most, giving way to clients.",
    ),
  prefetch: z
    .boolean()
    .default(false)
    .describe(
      "Fetch the whole content when a client has got a part of it, bounded and giving way as with keepOnAbort.",
    ),
});

/** The peer's settings file. Every key may be left out. */
export const peerFileSchema = z.strictObject({
  proxy: z
    .strictObject({
      rules: z
        .array(ruleSchema)
        .max(RULE_COUNT_MAX)
        .superRefine((rules, context) => {
          for (const [index, { regex }] of rules.entries()) {
            const problem = regexProblem(regex);
            if (problem === undefined) continue;
            const message = `rule ${index + 1}: the regex ${JSON.stringify(regex)} does not compile: ${problem}`;
            context.addIssue({ code: "custom", path: [index, "regex"], message });
          }
        })
        .default([])
        .describe(
          "Tried in order, before the built-in rules for LFS storage, registry blobs and hub files.",
        ),
      connectPorts: z
        .union([z.array(port), z.literal("any")])
        .default([443])
        .describe("Ports that CONNECT may reach: it carries whatever is spoken there. any: all."),
      usersFile: z
        .string()
        .min(1)
        .optional()
        .describe(
          "File of name:secret lines (or name:sha256:<hex>), readable by its owner only. Clients must send one of them as Proxy-Authorization.",
        ),
      clientNetworks: networks
        .optional()
        .describe("Networks that clients may come from, e.g. 10.0.0.0/8. Default: any."),
      names: z
        .array(
          z
            .string()
            .regex(/^[a-z0-9._-]{1,253}$/i, "a host name without port, such as proxy.example"),
        )
        .default([])
        .describe(
          "Host names by which clients reach the URL prefix of a port that is not on loopback, besides its addresses and the machine's own name. Others are refused: a web page may be behind them.",
        ),
      clientConnectionsMax: z
        .number()
        .int()
        .min(1)
        .max(CLIENT_COUNT_MAX)
        .default(CLIENT_COUNT_DEFAULT)
        .describe("Clients connected at once; more are turned away."),
      requestBodyMax: byteSize(undefined).describe(
        "Bytes that a request may bring along to its origin, e.g. 10GiB. Default: any number.",
      ),
    })
    .prefault({}),
  delegation: z
    .strictObject({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Hand a seed host, sealed under the cluster's secret, the URL and headers with which a client reads its origin, so that the host can read on when the client is gone; on seed hosts, take them.",
        ),
      allowedNetworks: networks
        .default([])
        .describe(
          "Addresses besides the public internet's that a seed host may read for others, e.g. of a storage server of yours.",
        ),
      ports: z.array(port).default([80, 443]).describe("Ports that it may read there."),
    })
    .prefault({}),
  store: z
    .strictObject({
      quota: byteSize(undefined).describe("Bytes of disk for content, e.g. 200GiB."),
    })
    .prefault({}),
  origin: z
    .strictObject({
      caFile: z
        .string()
        .min(1)
        .optional()
        .describe("PEM file of certificates to trust besides the system's, for every origin."),
      allowedHosts: hosts
        .optional()
        .describe(
          "Origins that may be asked: host, host:port or *.domain, after a rule's redirect. Default: any.",
        ),
      deniedHosts: hosts
        .default([])
        .describe("Origins that may not be asked, whatever allowedHosts says."),
      deniedNetworks: networks
        .default([])
        .describe(
          "Addresses that are not connected to, whatever name leads to them, e.g. 169.254.0.0/16.",
        ),
      hosts: z
        .record(z.string().min(1), z.strictObject({ caFile: z.string().min(1) }))
        .default({})
        .describe("Certificates to trust for single origins, by host name."),
    })
    .prefault({}),
});

/** The settings file as the peer uses it. */
export interface PeerFileSettings {
  /** The user's rules, then the built-in ones. */
  readonly rules: readonly Rule[];
  /** `undefined`: any. */
  readonly connectPorts: readonly number[] | undefined;
  readonly access: ClientAccess;
  /** Where requests may go. */
  readonly guard: OutboundGuard;
  /** Where a remote host may have this one go; `undefined`: nothing is delegated. */
  readonly delegationGuard: OutboundGuard | undefined;
  /** `undefined`: the store's own default. */
  readonly storeQuotaBytes: number | undefined;
  readonly trust: OriginTrust;
}

/**
 * Reads the peer's settings file and the certificates it names; without a path everything has its default.
 *
 * @throws {SettingsError} naming every key that is wrong, a regex that does not compile, or a file that cannot be read.
 */
export function loadPeerFileSettings(path: string | undefined): PeerFileSettings {
  const settings =
    path === undefined ? peerFileSchema.parse({}) : readSettingsFile(peerFileSchema, path);
  const { connectPorts } = settings.proxy;
  const { caFile, hosts: trustedHosts } = settings.origin;
  const byHost = Object.entries(trustedHosts).map(
    ([host, trusted]) =>
      [
        host.toLowerCase(),
        [readCertificates(trusted.caFile, `origin.hosts.${host}.caFile`)],
      ] as const,
  );
  return {
    rules: rulesInOrder(settings.proxy.rules.map((rule) => ruleOf(rule))),
    connectPorts: connectPorts === "any" ? undefined : connectPorts,
    access: accessOf(settings.proxy),
    guard: guardOf(settings.origin),
    delegationGuard: settings.delegation.enabled ? delegationGuardOf(settings) : undefined,
    storeQuotaBytes: settings.store.quota,
    trust: {
      everywhere: caFile === undefined ? [] : [readCertificates(caFile, "origin.caFile")],
      byHost: new Map(byHost),
    },
  };
}

function accessOf(proxy: z.infer<typeof peerFileSchema>["proxy"]): ClientAccess {
  const { usersFile, clientNetworks } = proxy;
  return {
    users: usersFile === undefined ? undefined : readProxyUsers(usersFile, "proxy.usersFile"),
    networks: clientNetworks === undefined ? undefined : new AddressSet(clientNetworks),
    names: proxy.names,
    clientCountMax: proxy.clientConnectionsMax,
    requestBodyBytesMax: proxy.requestBodyMax,
  };
}

function guardOf(origin: z.infer<typeof peerFileSchema>["origin"]): OutboundGuard {
  const denied = new AddressSet(origin.deniedNetworks);
  return new OutboundGuard(
    { allowed: origin.allowedHosts, denied: origin.deniedHosts },
    (address) =>
      denied.has(address)
        ? `${address} is in a network that is denied (origin.deniedNetworks)`
        : undefined,
  );
}

function delegationGuardOf({ origin, delegation }: z.infer<typeof peerFileSchema>): OutboundGuard {
  const hosts = { allowed: origin.allowedHosts, denied: origin.deniedHosts };
  return remoteGuard(hosts, origin.deniedNetworks, delegation);
}

function readCertificates(path: string, key: string): string {
  let pem: string;
  try {
    pem = readFileSync(path, "utf8");
  } catch (error) {
    throw new SettingsError(`${key}: cannot read ${path}: ${messageOf(error)}`);
  }
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) {
    throw new SettingsError(`${key}: ${path} holds no certificate in PEM`);
  }
  return pem;
}

function isAuthority(text: string): boolean {
  const url = /[/?#@\s\\]/.test(text) ? null : URL.parse(`http://${text}/`);
  return url !== null && url.hostname !== "";
}
