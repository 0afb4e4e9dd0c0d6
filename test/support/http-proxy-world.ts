import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import { connect, type Server as NetServer, type Socket } from "node:net";
import { promisify } from "node:util";
import { createMemoryLog, type MemoryLog } from "@lacewing/observability/memory-log.ts";
import {
  type ClientAccess,
  OPEN_ACCESS,
} from "@lacewing/peer/adapters/http-proxy/client-access.ts";
import { startHttpProxy, type HttpProxy } from "@lacewing/peer/adapters/http-proxy/proxy-server.ts";
import type { SlotLimits } from "@lacewing/peer/adapters/origin/connection-slots.ts";
import {
  OriginConnections,
  SYSTEM_TRUST,
} from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { OutboundGuard } from "@lacewing/peer/adapters/origin/outbound-guard.ts";
import type {
  ClientRequest,
  DeliveryEnd,
  DownloadAnswer,
  ForetoldContent,
  PullBody,
} from "@lacewing/peer/app/ports.ts";
import { ruleOf, type Rule, type RuleSpec } from "@lacewing/peer/core/rules.ts";
import { type Clock, systemClock } from "@lacewing/runtime/clock.ts";

/** The download flow's twin: every request is answered by the script of the test. */
class ScriptedDownloads {
  readonly asked: { readonly request: ClientRequest; readonly rule: Rule }[] = [];
  readonly ends: DeliveryEnd[] = [];
  readonly foretold: ForetoldContent[] = [];
  script: (
    request: ClientRequest,
  ) => Promise<Omit<DownloadAnswer, "ended">> | Omit<DownloadAnswer, "ended"> = () => ({
    status: 200,
    headers: [],
    body: undefined,
    bodyLength: undefined,
  });

  async answer(request: ClientRequest, rule: Rule): Promise<DownloadAnswer> {
    this.asked.push({ request, rule });
    const answer = await this.script(request);
    return { ...answer, ended: (how) => this.ends.push(how) };
  }

  foretell(contents: readonly ForetoldContent[]): void {
    this.foretold.push(...contents);
  }
}

export interface ProxyWorld {
  readonly proxy: HttpProxy;
  readonly downloads: ScriptedDownloads;
  readonly log: MemoryLog;
  [Symbol.asyncDispose](): Promise<void>;
}

export const VIA_NAME = "lacewing-test";
const run = promisify(execFile);

/** A proxy port whose rules want everything under `/wanted/`, besides `rules`. */
export async function startWorld(
  options: {
    readonly rules?: readonly RuleSpec[];
    readonly connectPorts?: readonly number[];
    readonly access?: Partial<ClientAccess>;
    readonly guard?: OutboundGuard;
    readonly limits?: SlotLimits;
    readonly clientBytesPerSecond?: number;
    readonly clock?: Clock;
  } = {},
): Promise<ProxyWorld> {
  const downloads = new ScriptedDownloads();
  const log = createMemoryLog();
  const connections = new OriginConnections(SYSTEM_TRUST, options.guard, options.limits);
  const proxy = await startHttpProxy({
    address: { host: "127.0.0.1", port: 0 },
    rules: [...(options.rules ?? []), { regex: "/wanted/", tag: "t" }].map((spec) => ruleOf(spec)),
    downloads,
    connections,
    viaName: VIA_NAME,
    connectPorts: options.connectPorts,
    access: { ...OPEN_ACCESS, ...options.access },
    clientBytesPerSecond: options.clientBytesPerSecond ?? 0,
    clock: options.clock ?? systemClock,
    log,
  });
  return {
    proxy,
    downloads,
    log,
    [Symbol.asyncDispose]: async () => {
      await proxy.close();
      connections.close();
    },
  };
}

export interface TestServer {
  readonly port: number;
  readonly server: Server;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A plain HTTP origin on a free loopback port. */
export async function startOrigin(listener: RequestListener): Promise<TestServer> {
  const server = createServer(listener);
  const port = await listenAnywhere(server);
  return {
    port,
    server,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

export async function listenAnywhere(server: NetServer): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  return address.port;
}

/** A client that speaks bytes: everything it receives is kept until the connection ends. */
export class RawClient {
  readonly socket: Socket;
  #received = "";
  #isClosed = false;

  constructor(port: number) {
    this.socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    this.socket.setEncoding("latin1");
    this.socket.on("data", (text: string) => {
      this.#received += text;
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.#isClosed = true;
    });
  }

  get received(): string {
    return this.#received;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Resolves when the other side ended or broke the connection. */
  async ended(): Promise<string> {
    if (!this.#isClosed && !this.socket.readableEnded) {
      await Promise.race([once(this.socket, "end"), once(this.socket, "close")]);
    }
    this.socket.destroy();
    return this.#received;
  }
}

/** `count` chunks of `chunkBytes`, then an end, or a failure in its place. */
export function bodyOfChunks(
  count: number,
  chunkBytes: number,
  failure?: Error,
): PullBody & { readCount: number } {
  const body = {
    readCount: 0,
    read: async (into: Uint8Array) => {
      if (body.readCount === count) {
        if (failure !== undefined) throw failure;
        return 0;
      }
      body.readCount += 1;
      const length = Math.min(chunkBytes, into.length);
      into.fill(65 + (body.readCount % 26), 0, length);
      return length;
    },
  };
  return body;
}

/** curl without the proxy settings that the machine may have. */
export async function curl(...args: readonly string[]): Promise<string> {
  const { stdout } = await run("curl", ["-q", "-sS", "--noproxy", "", ...args], {
    env: { PATH: process.env["PATH"] },
  });
  return stdout;
}
