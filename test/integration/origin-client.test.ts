import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { createServer as createTlsServer } from "node:https";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { createOriginClient } from "@lacewing/peer/adapters/origin/origin-client.ts";
import {
  OriginConnections,
  SYSTEM_TRUST,
  type OriginTrust,
} from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { OriginClient, OriginRequest, OriginResponse } from "@lacewing/peer/app/ports.ts";
import { OutboundGuard } from "@lacewing/peer/adapters/origin/outbound-guard.ts";
import { remoteGuard } from "@lacewing/peer/adapters/origin/remote-guard.ts";
import { ANY_HOST } from "@lacewing/peer/core/host-patterns.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { startLfsOrigin } from "../support/lfs-origin.ts";
import { seededContent, bytesOf } from "../support/content.ts";
import { requiredTool } from "../support/required-tool.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";
import { listenAnywhere, startOrigin } from "../support/http-proxy-world.ts";

const clients: OriginClient[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

function openClient(trust?: OriginTrust): OriginClient {
  const client = createOriginClient({
    connections: new OriginConnections(trust),
    clock: systemClock,
  });
  clients.push(client);
  return client;
}

test("what is read for other hosts goes to no address that is denied, by a redirect or by a name either", async () => {
  let insideCount = 0;
  const inside = createTcpServer((socket) => {
    insideCount++;
    socket.destroy();
  });
  inside.listen(0, "127.0.0.2");
  await once(inside, "listening");
  const address = inside.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  const target = `http://127.0.0.2:${address.port}/secret`;
  await using origin = await startOrigin((_request, response) => {
    response.writeHead(302, { location: target }).end("moved");
  });
  const ports = [origin.port, address.port];
  const guard = remoteGuard(ANY_HOST, [], { allowedNetworks: ["127.0.0.1"], ports });
  const client = createOriginClient({
    connections: new OriginConnections(SYSTEM_TRUST, guard),
    clock: systemClock,
  });
  clients.push(client);
  const redirect = await client.open(asking(`http://127.0.0.1:${origin.port}/a`), NEVER);
  // It is not followed; whoever delegated the read sees that the origin refused.
  expect(redirect).toMatchObject({ status: 302 });
  redirect.discard();
  for (const url of [
    target,
    `http://[::1]:${address.port}/`,
    `http://[::ffff:127.0.0.2]:${address.port}/`,
    `http://2130706434:${address.port}/`,
    "http://127.0.0.1:22/",
  ]) {
    await expect(client.open(asking(url), NEVER)).rejects.toMatchObject({
      code: "origin_denied",
      retryable: false,
    });
  }
  const named = await client.open(asking(`http://name.localhost:${origin.port}/a`), NEVER);
  // Of the two addresses of the name only one is allowed.
  expect(named).toMatchObject({ status: 302 });
  named.discard();
  expect(insideCount).toBe(0);
  inside.close();
  await once(inside, "close");
});

test("a host that is denied at the port of TLS is not asked there", async () => {
  const addresses: string[] = [];
  const denied = [{ name: "plain.localhost", isWildcard: false, port: 443 }];
  const guard = new OutboundGuard({ allowed: undefined, denied }, (address) => {
    addresses.push(address);
    return `${address} is denied`;
  });
  const connections = new OriginConnections(SYSTEM_TRUST, guard);
  const client = createOriginClient({ connections, clock: systemClock });
  clients.push(client);
  expect(await connections.speaksTls("plain.localhost", 1000)).toBe(false);
  await expect(
    client.open(asking("http://plain.localhost/", { useTls: true }), NEVER),
  ).rejects.toThrow("plain.localhost:443 is denied");
  expect(addresses).toEqual([]);
  expect(await connections.speaksTls("other.localhost", 1000)).toBe(false);
  expect(addresses).toContain("127.0.0.1");
});

const NEVER = new AbortController().signal;

function asking(url: string, more: Partial<OriginRequest> = {}): OriginRequest {
  return {
    method: "GET",
    url: new URL(url),
    headers: [],
    range: undefined,
    ifRange: undefined,
    useTls: "auto",
    ...more,
  };
}

async function bodyOf(response: OriginResponse): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  // A chunk is good until the one after the next is asked for.
  for await (const chunk of response.body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** An origin that answers with the request as it saw it. */
const mirror: RequestListener = (request, response) => {
  response.end(JSON.stringify({ url: request.url, headers: request.headers }));
};

describe("a request to the origin", () => {
  test("carries the client's headers, our own range, and asks for no encoding", async () => {
    await using origin = await startOrigin(mirror);
    const request = asking(`http://name.localhost:${origin.port}/a%2Fb?c=d`, {
      headers: [
        ["Authorization", "Bearer t"],
        ["Accept-Encoding", "gzip"],
        ["Range", "bytes=5-"],
        ["If-Range", '"old"'],
        ["Host", "other.example"],
        ["Connection", "x-hop"],
        ["X-Hop", "1"],
      ],
      range: { start: 10, end: 20 },
      ifRange: '"v"',
    });
    const seen: unknown = JSON.parse(
      (await bodyOf(await openClient().open(request, NEVER))).toString(),
    );
    expect(seen).toEqual({
      url: "/a%2Fb?c=d",
      headers: {
        host: `name.localhost:${origin.port}`,
        authorization: "Bearer t",
        "accept-encoding": "identity",
        range: "bytes=10-19",
        "if-range": '"v"',
      },
    });
  });

  test("without a range asks for the whole, whatever the client asked; an open range has no end", async () => {
    await using origin = await startOrigin((request, response) =>
      response.end(request.headers.range ?? "whole"),
    );
    const url = `http://127.0.0.1:${origin.port}/`;
    const headers = [["Range", "bytes=5-"]] as const;
    const client = openClient();
    expect((await bodyOf(await client.open(asking(url, { headers }), NEVER))).toString()).toBe(
      "whole",
    );
    const open = asking(url, { range: { start: 7, end: undefined } });
    expect((await bodyOf(await client.open(open, NEVER))).toString()).toBe("bytes=7-");
  });

  test("goes over one kept connection, also after HEAD", async () => {
    let connectionCount = 0;
    await using origin = await startOrigin((_request, response) => {
      response.setHeader("content-length", 2);
      response.end("ok");
    });
    origin.server.on("connection", () => (connectionCount += 1));
    const client = openClient();
    const url = `http://127.0.0.1:${origin.port}/`;
    for (const method of ["GET", "HEAD", "GET"] as const) {
      await bodyOf(await client.open(asking(url, { method }), NEVER));
      // An answer without a body is here before its connection is free again.
      await nextTurn();
    }
    expect(connectionCount).toBe(1);
  });
});

describe("redirects", () => {
  test("are followed with the range; credentials stay with their origin, and the hub's words are kept", async () => {
    await using storage = await startOrigin(mirror);
    await using hub = await startOrigin((request, response) => {
      if (request.url === "/same") {
        mirror(request, response);
        return;
      }
      const location =
        request.url === "/inside" ? "/same" : `http://127.0.0.1:${storage.port}/blob`;
      response.writeHead(302, { location, "x-linked-etag": '"abc"', "x-repo-commit": "c1" });
      response.end("moved");
    });
    const client = openClient();
    const open = async (path: string) => {
      const headers = [
        ["Authorization", "Bearer t"],
        ["Cookie", "a=b"],
        ["Private-Token", "glpat"],
        ["User-Agent", "git-lfs/3.3.0"],
      ] as const;
      const range = { start: 0, end: 1 };
      const url = `http://127.0.0.1:${hub.port}${path}`;
      const response = await client.open(asking(url, { headers, range }), NEVER);
      return { response, text: (await bodyOf(response)).toString() };
    };
    const outside = await open("/outside");
    expect(outside.text).toContain("bytes=0-0");
    expect(outside.text).not.toMatch(/bearer|cookie|glpat/i);
    expect(outside.response.header("x-linked-etag")).toBe('"abc"');
    expect(outside.response.header("x-repo-commit")).toBe("c1");
    expect((await open("/inside")).text).toContain("Bearer t");
  });

  test("to something that is not http are handed on as they are", async () => {
    await using origin = await startOrigin((_request, response) => {
      response.writeHead(302, { location: "ftp://h.example/x" }).end();
    });
    const response = await openClient().open(asking(`http://127.0.0.1:${origin.port}/`), NEVER);
    expect(response.status).toBe(302);
    response.discard();
  });
});

describe("an origin that fails", () => {
  test.each([
    ["closes in the middle", 100_000, { kind: "close_after", bytes: 5000 } as const],
    ["ends before the length it promised", 100_000, { kind: "end_after", bytes: 5000 } as const],
    ["closes in a long body", 3 * 2 ** 20, { kind: "close_after", bytes: 2 ** 20 } as const],
    ["ends a long body early", 3 * 2 ** 20, { kind: "end_after", bytes: 2 ** 20 } as const],
  ])("and %s makes the body fail after what arrived", async (_name, sizeBytes, fault) => {
    await using origin = await startLfsOrigin();
    const content = seededContent("f", sizeBytes);
    await origin.putFile("f", content);
    await origin.setFaults("*", [fault]);
    const response = await openClient().open(asking(`${origin.url}/files/f`), NEVER);
    expect(response.bodyLength).toBe(sizeBytes);
    const arrived: Buffer[] = [];
    const reading = (async () => {
      for await (const chunk of response.body) arrived.push(Buffer.from(chunk));
    })();
    await expect(reading).rejects.toMatchObject({ code: "origin_broken_off" });
    const bytes = Buffer.concat(arrived);
    expect(bytes.equals((await bytesOf(content)).subarray(0, bytes.length))).toBe(true);
  });

  test("to listen is unreachable", async () => {
    const gone = await startOrigin(mirror);
    await gone[Symbol.asyncDispose]();
    const opening = openClient().open(asking(`http://127.0.0.1:${gone.port}/x?token=s`), NEVER);
    await expect(opening).rejects.toMatchObject({
      code: "origin_unreachable",
      message: `cannot reach 127.0.0.1:${gone.port}: connection refused`,
      retryable: true,
    });
  });

  test("with an error status is an answer like any other", async () => {
    await using origin = await startLfsOrigin();
    await origin.setFaults("*", [{ kind: "status", status: 429, retryAfterSeconds: 3 }]);
    await origin.putFile("f", seededContent("f", 10));
    const response = await openClient().open(asking(`${origin.url}/files/f`), NEVER);
    expect([response.status, response.header("retry-after")]).toEqual([429, "3"]);
    response.discard();
  });

  test("gzip stays gzip: nothing is decoded", async () => {
    await using origin = await startLfsOrigin();
    await origin.putFile("f", seededContent("f", 1000));
    await origin.setFaults("*", [{ kind: "gzip" }]);
    const response = await openClient().open(asking(`${origin.url}/files/f`), NEVER);
    expect(response.header("content-encoding")).toBe("gzip");
    expect((await bodyOf(response)).subarray(0, 2).toString("hex")).toBe("1f8b");
  });
});

test("an abort ends the wait for the head and the body, with the signal's reason", async () => {
  const events: string[] = [];
  await using origin = await startOrigin((request, response) => {
    events.push("asked");
    response.on("close", () => events.push("closed"));
    if (request.url === "/body") response.write("x");
  });
  const reason = new Error("enough");
  const client = openClient();
  const waiting = new AbortController();
  const opening = client.open(asking(`http://127.0.0.1:${origin.port}/head`), waiting.signal);
  await waitFor("the request", () => events.includes("asked"));
  waiting.abort(reason);
  await expect(opening).rejects.toBe(reason);

  const reading = new AbortController();
  const response = await client.open(
    asking(`http://127.0.0.1:${origin.port}/body`),
    reading.signal,
  );
  const body = bodyOf(response);
  reading.abort(reason);
  await expect(body).rejects.toBe(reason);
  await waitFor("both ends", () => events.filter((event) => event === "closed").length === 2);
});

test("a large body arrives whole", async () => {
  await using origin = await startLfsOrigin();
  const content = seededContent("large", 20 * 2 ** 20);
  await origin.putFile("f", content);
  const response = await openClient().open(asking(`${origin.url}/files/f`), NEVER);
  expect((await bodyOf(response)).equals(await bytesOf(content))).toBe(true);
});

const OPENSSL = requiredTool("openssl");

test.skipIf(OPENSSL === undefined)(
  "a certificate is verified, and a CA that is named for its host is trusted there only",
  async () => {
    await using folder = await makeTempDir("tls");
    const subject =
      "-subj /CN=tls.localhost -addext subjectAltName=DNS:tls.localhost,DNS:two.localhost";
    const key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    const files = ["-keyout", folder.join("key.pem"), "-out", folder.join("cert.pem")];
    execFileSync(OPENSSL ?? "", [...`${key} ${subject}`.split(" "), ...files], { stdio: "ignore" });
    const cert = readFileSync(folder.join("cert.pem"), "utf8");
    const server = createTlsServer({ cert, key: readFileSync(folder.join("key.pem")) }, mirror);
    const port = await listenAnywhere(server);
    try {
      const open = (client: OriginClient, host: string, scheme = "https") =>
        client.open(asking(`${scheme}://${host}:${port}/`, { useTls: true }), NEVER);
      await expect(open(openClient(), "tls.localhost")).rejects.toThrow(
        /tls\.localhost:\d+: its certificate is self-signed; trust it with origin\.caFile/,
      );
      const trusting = openClient({ everywhere: [], byHost: new Map([["tls.localhost", [cert]]]) });
      expect((await bodyOf(await open(trusting, "tls.localhost"))).toString()).toContain(
        "tls.localhost",
      );
      expect((await open(trusting, "tls.localhost", "http")).status).toBe(200);
      await expect(open(trusting, "two.localhost")).rejects.toMatchObject({
        code: "origin_unreachable",
      });
      const everywhere = openClient({ everywhere: [cert], byHost: new Map() });
      expect((await open(everywhere, "two.localhost")).status).toBe(200);
      await expect(open(everywhere, "wrong.localhost")).rejects.toThrow(
        "its certificate is for another name",
      );
    } finally {
      server.close();
      server.closeAllConnections();
    }
  },
);
