import {
  type ClientAccess,
  OPEN_ACCESS,
} from "@lacewing/peer/adapters/http-proxy/client-access.ts";
import { startHttpProxy } from "@lacewing/peer/adapters/http-proxy/proxy-server.ts";
import {
  OriginConnections,
  SYSTEM_TRUST,
} from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { DownloadPort } from "@lacewing/peer/app/ports.ts";
import { ruleOf, type RuleSpec } from "@lacewing/peer/core/rules.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";
import { RawClient, VIA_NAME } from "./http-proxy-world.ts";
import { anchoredPath, PeerWorld } from "./peer-world.ts";
import { waitFor } from "./wait-for.ts";

/** A real proxy port before a peer whose origin and scheduler are scripted, and whose hits are all summed up. */
export interface HotWorld {
  readonly peer: PeerWorld;
  readonly port: number;
  /** Absolute URL of content, which the origin has from now on. */
  offer(content: Uint8Array): string;
  /** Requests that went through the download flow. */
  flowCount(): number;
  /** The answer to one request on a connection of its own, as it came; `Date` is blanked. */
  ask(target: string, fields?: readonly string[], method?: string): Promise<string>;
  /** Client requests by outcome and the bytes they got, of all facts so far. */
  told(): { readonly finished: number; readonly gone: number; readonly bytes: number };
  [Symbol.asyncDispose](): Promise<void>;
}

/** @param options.sleep what the port does when it has to wait for a client's pace. */
export async function startHotWorld(
  options: {
    readonly access?: Partial<ClientAccess>;
    readonly rule?: Partial<RuleSpec>;
    readonly clientBytesPerSecond?: number;
    readonly sleep?: Clock["sleep"];
  } = {},
): Promise<HotWorld> {
  // It stands still, so that no hit earns a record of its own.
  const atMs = systemClock.monotonic();
  const clock: Clock = { ...systemClock, monotonic: () => atMs };
  const peer = new PeerWorld({ clock });
  peer.onRequest((request) => peer.grantOrigin(request));
  while (peer.tally.takeRecord());
  let flowCount = 0;
  const downloads: DownloadPort = {
    answer: async (request, rule) => {
      flowCount++;
      return peer.downloads.answer(request, rule);
    },
    foretell: () => {},
  };
  const connections = new OriginConnections(SYSTEM_TRUST);
  const proxy = await startHttpProxy({
    address: { host: "127.0.0.1", port: 0 },
    rules: [ruleOf({ regex: ".*", access: "public", ...options.rule })],
    downloads,
    connections,
    viaName: VIA_NAME,
    access: { ...OPEN_ACCESS, ...options.access },
    clientBytesPerSecond: options.clientBytesPerSecond ?? 0,
    clock: options.sleep === undefined ? clock : { ...clock, sleep: options.sleep },
    log: peer.log,
  });
  const { port } = proxy.address;
  return {
    peer,
    port,
    offer: (content) => {
      peer.origin.add(anchoredPath(content), content);
      return `http://origin.test${anchoredPath(content)}`;
    },
    flowCount: () => flowCount,
    ask: async (target, fields = [], method = "GET") => askRaw(port, target, fields, method),
    told: () => {
      peer.tally.tell();
      const facts = [...peer.journal.facts.values()];
      const count = (outcome: string) =>
        facts
          .filter((fact) => fact.outcome === outcome)
          .reduce((sum, { requestCount }) => sum + requestCount, 0);
      const bytes = facts.reduce(
        (sum, { delivered }) => sum + (delivered?.localPeer ?? 0) + (delivered?.backToSource ?? 0),
        0,
      );
      return { finished: count("finished"), gone: count("client_gone"), bytes };
    },
    [Symbol.asyncDispose]: async () => {
      await proxy.close();
      await peer.close();
      connections.close();
    },
  };
}

async function askRaw(
  port: number,
  target: string,
  fields: readonly string[],
  method: string,
): Promise<string> {
  const client = new RawClient(port);
  const host = fields.some((field) => /^host:/i.test(field)) ? [] : [`Host: 127.0.0.1:${port}`];
  client.send(`${[`${method} ${target} HTTP/1.1`, ...host, ...fields].join("\r\n")}\r\n\r\n`);
  await waitFor("the answer", () => client.isClosed || isWhole(client.received, method), {
    intervalMs: 1,
  });
  client.socket.destroy();
  return client.received.replace(/\r\nDate: [^\r]*/i, "\r\nDate: …");
}

function isWhole(text: string, method: string): boolean {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return false;
  if (method === "HEAD" || text.startsWith("HTTP/1.1 304")) return true;
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1]);
  return text.length >= headEnd + 4 + length;
}
