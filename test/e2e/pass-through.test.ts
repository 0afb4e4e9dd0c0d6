import { existsSync } from "node:fs";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  request as startRequest,
  type Server,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect as connectTcp, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { processesOf } from "@lacewing/local/process-table.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runLacewing } from "../support/command-line.ts";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { runProcessOrThrow } from "../support/processes.ts";
import { requiredTool } from "../support/required-tool.ts";
import { makeTempDir } from "../support/temp-dir.ts";
import { listTasks } from "../support/peer-api.ts";

async function listenAnywhere(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  return (address satisfies AddressInfo).port;
}

describe("requests that no rule wants", () => {
  let world: World;
  let server: Server;
  let port: number;
  beforeAll(async () => {
    world = await startWorld({ peers: 1, seedPeers: 0, config: "proxy: { connectPorts: any }\n" });
    server = createServer((request, response) => {
      void echo(request).then((body) => {
        response.writeHead(201, { "content-type": "application/json", "x-mine": "kept" }).end(body);
      });
    });
    port = await listenAnywhere(server);
  });
  afterAll(async () => {
    server?.close();
    await world?.[Symbol.asyncDispose]();
  });

  async function echo(request: IncomingMessage): Promise<string> {
    const body = await text(request);
    const { method, url, headers } = request;
    return JSON.stringify({ method, url, body, encoding: headers["transfer-encoding"] ?? "" });
  }

  function proxyPort(): number {
    return Number(new URL(world.peer("peer-1").proxyUrl).port);
  }

  test("a POST with a chunked body reaches the origin as it is, and its answer the client", async () => {
    const chunks = ["first ", "second ", "third"];
    const request = startRequest({
      host: "127.0.0.1",
      port: proxyPort(),
      method: "POST",
      path: `http://127.0.0.1:${port}/upload?x=1`,
      headers: { host: `127.0.0.1:${port}`, "transfer-encoding": "chunked" },
    });
    for (const chunk of chunks) request.write(chunk);
    request.end();
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request.once("response", resolve).once("error", reject);
    });
    expect(response.statusCode).toBe(201);
    expect(response.headers["x-mine"]).toBe("kept");
    expect(JSON.parse(await text(response))).toEqual({
      method: "POST",
      url: "/upload?x=1",
      body: chunks.join(""),
      encoding: "chunked",
    });
  });

  test("a GET of an unmatched host is answered by its origin and never kept", async () => {
    const url = `http://other.localhost:${port}/page`;
    const answer = await httpGet(url, { proxyUrl: world.peer("peer-1").proxyUrl });
    expect(answer.status).toBe(201);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ method: "GET", url: "/page" });
    expect(await listTasks(world.peer("peer-1"))).toEqual([]);
  });

  test("a host that does not exist is a clear 502", async () => {
    const answer = await httpGet("http://no-such-host.invalid/", {
      proxyUrl: world.peer("peer-1").proxyUrl,
    });
    expect(answer.status).toBe(502);
    expect(answer.body.toString()).toContain("no-such-host.invalid");
  });

  for (const [what, bytes] of [
    ["a malformed request line", "GET http://127.0.0.1/ a b c\r\n\r\n"],
    ["something that is no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["a request target that is no URL", "GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["an unknown scheme", "GET ftp://127.0.0.1/file HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["/url/ without a URL", "GET /url/nothing HTTP/1.1\r\nHost: x\r\n\r\n"],
    [
      "two different lengths",
      "POST http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    ],
  ] as const) {
    test(`${what} is answered with 400, and the proxy goes on`, async () => {
      const socket = connectTcp(proxyPort(), "127.0.0.1");
      socket.end(Buffer.from(bytes, "latin1"));
      const answer = await text(socket);
      expect(answer).toMatch(/^HTTP\/1\.1 400 /);
      const health = await httpGet(`${world.peer("peer-1").proxyUrl}/healthz`);
      expect(health.status).toBe(200);
    });
  }

  test.skipIf(requiredTool("openssl") === undefined)(
    "a CONNECT tunnel carries TLS from end to end, untouched",
    async () => {
      const { key, cert } = await selfSigned(world.dir.path);
      const secure = createTlsServer({ key, cert }, (request, response) => {
        response.end(`secure ${request.url}`);
      });
      const securePort = await listenAnywhere(secure);
      const tunnel = await openTunnel(proxyPort(), `127.0.0.1:${securePort}`);
      const session = connectTls({ socket: tunnel, ca: cert, servername: "tunnel.test" });
      await once(session, "secureConnect");
      // The origin's own certificate: nobody stands in between.
      expect(session.getPeerCertificate().subject.CN).toBe("tunnel.test");
      session.write("GET /inside HTTP/1.1\r\nHost: tunnel.test\r\nConnection: close\r\n\r\n");
      expect(await text(session)).toContain("secure /inside");
      secure.close();
    },
  );

  test("a CONNECT to a closed port is refused in words", async () => {
    const closed = createServer();
    const closedPort = await listenAnywhere(closed);
    closed.close();
    await once(closed, "close");
    await expect(openTunnel(proxyPort(), `127.0.0.1:${closedPort}`)).rejects.toThrow(/^502 /);
  });
});

/** The socket behind a CONNECT. @throws with the status line and body of a refusal. */
async function openTunnel(proxyPort: number, target: string): Promise<Socket> {
  const request = startRequest({
    host: "127.0.0.1",
    port: proxyPort,
    method: "CONNECT",
    path: target,
  });
  request.end();
  return new Promise<Socket>((resolve, reject) => {
    request.once("error", reject);
    request.once("connect", (response: IncomingMessage, socket: Socket) => {
      if (response.statusCode === 200) resolve(socket);
      else {
        socket.destroy();
        reject(new Error(`${response.statusCode} ${response.statusMessage}`));
      }
    });
  });
}

async function selfSigned(folder: string): Promise<{ key: string; cert: string }> {
  const [key, cert] = [join(folder, "tls.key"), join(folder, "tls.crt")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const name = ["-subj", "/CN=tunnel.test", "-addext", "subjectAltName=DNS:tunnel.test"];
  await runProcessOrThrow({
    command: "openssl",
    args: ["req", "-x509", ...kind, "-days", "1", ...name, "-keyout", key, "-out", cert],
  });
  return { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
}

describe("a settings file with a mistake", () => {
  for (const { what, yaml, complaint } of [
    {
      what: "a misspelt key",
      yaml: "proxy:\n  ruls: []\n",
      complaint: /unknown key "ruls"; did you mean "rules"\?/,
    },
    {
      what: "a misspelt key in a rule",
      yaml: "proxy:\n  rules:\n    - regex: x\n      usTls: true\n",
      complaint: /proxy\.rules\.0: unknown key "usTls"; did you mean "useTls"\?/,
    },
    {
      what: "a regex that does not compile",
      yaml: 'proxy:\n  rules:\n    - regex: "("\n',
      complaint: /rule 1: the regex "\(" does not compile/,
    },
    {
      what: "no YAML",
      yaml: "proxy: [unfinished\n",
      complaint: /cannot read .*settings\.yaml/,
    },
  ]) {
    test(`${what} keeps lacewing up from starting, says what is wrong, and leaves nothing running`, async () => {
      await using dir = await makeTempDir("settings");
      const home = dir.join("home");
      await mkdir(home);
      const file = dir.join("settings.yaml");
      await writeFile(file, yaml);
      const dataDir = dir.join("cluster");
      const result = await runLacewing({ args: ["up", "--data", dataDir, "--config", file], home });
      expect(result.exitCode).toBeGreaterThan(0);
      expect(result.stderr).toMatch(complaint);
      expect(result.stderr).toContain(file);
      expect(processesOf(dataDir, [dataDir], [])).toEqual([]);
      expect(existsSync(dataDir)).toBe(false);
    });
  }
});
