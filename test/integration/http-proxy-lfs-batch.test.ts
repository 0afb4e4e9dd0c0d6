import { request as httpRequest, type RequestListener } from "node:http";
import { gzipSync } from "node:zlib";
import type { RuleSpec } from "@lacewing/peer/core/rules.ts";
import { expect, test } from "vitest";
import {
  type ProxyWorld,
  startOrigin,
  startWorld,
  type TestServer,
} from "../support/http-proxy-world.ts";
import { waitFor } from "../support/wait-for.ts";

const OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
const MEDIA_TYPE = "application/vnd.git-lfs+json";

/** An LFS server whose batch answer is `body`; everything else is not asked of it here. */
async function startServer(
  body: (server: TestServer) => Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  const listener: RequestListener = (request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": MEDIA_TYPE, ...headers }).end(body(server));
  };
  const server: TestServer = await startOrigin(listener);
  return server;
}

function batchOf(hrefs: readonly string[], header?: Readonly<Record<string, string>>): Buffer {
  const objects = hrefs.map((href) => ({
    oid: OID,
    size: 1234,
    actions: { download: { href, ...(header === undefined ? {} : { header }) } },
  }));
  return Buffer.from(JSON.stringify({ transfer: "basic", objects }));
}

interface BatchRequest {
  /** Headers besides the usual ones. */
  readonly headers?: Readonly<Record<string, string>>;
  /** User and password in the URL, and its query. */
  readonly userInfo?: string;
  readonly query?: string;
}

/** Asks through a proxy port for a batch. @returns the answer's body as the client got it, nothing unpacked. */
async function askForBatch(
  world: ProxyWorld,
  server: TestServer,
  { headers = {}, userInfo = "", query = "" }: BatchRequest = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      {
        host: "127.0.0.1",
        port: world.proxy.address.port,
        path: `/url/http://${userInfo}127.0.0.1:${server.port}/r.git/info/lfs/objects/batch${query}`,
        method: "POST",
        headers: { accept: MEDIA_TYPE, "content-type": MEDIA_TYPE, ...headers },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () => resolve(Buffer.concat(chunks)));
      },
    );
    asked.on("error", reject);
    asked.end("{}");
  });
}

/** What the next batch foretells. */
async function foretoldBy(
  server: TestServer,
  request: BatchRequest = {},
  rules: readonly RuleSpec[] = [],
): Promise<readonly Record<string, unknown>[]> {
  await using world = await startWorld({ rules });
  await askForBatch(world, server, request);
  const { foretold } = world.downloads;
  await waitFor("something foretold", () => foretold.length > 0);
  return foretold.map(({ url, ...rest }) => ({ ...rest, url: url.href }));
}

test.each([
  ["as it is", (body: Buffer) => body, {}],
  ["compressed", (body: Buffer) => gzipSync(body), { "content-encoding": "gzip" }],
])(
  "a batch answer %s reaches the client unchanged and foretells its objects",
  async (_name, pack, headers) => {
    await using server = await startServer(
      ({ port }) => pack(batchOf([`http://127.0.0.1:${port}/wanted/${OID}?sig=1`])),
      headers,
    );
    await using world = await startWorld();
    const body = await askForBatch(world, server, { headers: { authorization: "Basic x" } });
    const href = `http://127.0.0.1:${server.port}/wanted/${OID}?sig=1`;
    expect(body.equals(pack(batchOf([href])))).toBe(true);
    const { foretold } = world.downloads;
    await waitFor("something foretold", () => foretold.length > 0);
    expect(foretold).toMatchObject([
      {
        url: { href },
        digest: `sha256:${OID}`,
        lengthBytes: 1234,
        isGranted: true,
        headers: [["authorization", "Basic x"]],
      },
    ]);
  },
);

test("an object of another server is foretold without a grant and without the client's credentials", async () => {
  const href = `http://storage.test/wanted/${OID}`;
  await using server = await startServer(() => batchOf([href], { "X-Key": "1" }));
  const foretold = await foretoldBy(server, { headers: { authorization: "Basic x" } });
  expect(foretold).toMatchObject([{ url: href, isGranted: false, headers: [["X-Key", "1"]] }]);
});

test("a server grants nothing by its own URL that a rule redirects to another server", async () => {
  await using server = await startServer(({ port }) =>
    batchOf([`http://127.0.0.1:${port}/wanted/${OID}`]),
  );
  const foretold = await foretoldBy(server, {}, [{ regex: "/wanted/", redirect: "cache.test" }]);
  expect(foretold).toMatchObject([{ url: `http://cache.test/wanted/${OID}`, isGranted: false }]);
});

test("objects are asked for under the name of the client's program, whoever serves them", async () => {
  await using server = await startServer(() => batchOf([`http://storage.test/wanted/${OID}`]));
  const foretold = await foretoldBy(server, { headers: { "user-agent": "git-lfs/3" } });
  expect(foretold).toMatchObject([{ headers: [["user-agent", "git-lfs/3"]] }]);
  await using wishful = await startServer(() =>
    batchOf([`http://storage.test/wanted/${OID}`], { "User-Agent": "as told" }),
  );
  const told = await foretoldBy(wishful, { headers: { "user-agent": "git-lfs/3" } });
  expect(told).toMatchObject([{ headers: [["User-Agent", "as told"]] }]);
});

test("an object's own authorization takes the place of the client's", async () => {
  await using server = await startServer(({ port }) =>
    batchOf([`http://127.0.0.1:${port}/wanted/${OID}`], { Authorization: "RemoteAuth y" }),
  );
  const foretold = await foretoldBy(server, { headers: { authorization: "Basic x" } });
  expect(foretold).toMatchObject([{ headers: [["Authorization", "RemoteAuth y"]] }]);
});

test.each([
  ["that is not JSON", Buffer.from("{"), {}],
  ["without objects", Buffer.from('{"message":"no"}'), {}],
  ["whose object has no URL", batchOf(["not a url"]), {}],
  ["that no rule wants", batchOf([`http://storage.test/other/${OID}`]), {}],
  ["that is said to be compressed and is not", batchOf([]), { "content-encoding": "gzip" }],
  [
    "of another type",
    batchOf([`http://storage.test/wanted/0${OID.slice(1)}`]),
    { "content-type": "text/html" },
  ],
])("an answer %s foretells nothing", async (_name, body, headers) => {
  await using server = await startServer(() => body, headers);
  const next = `http://storage.test/wanted/${OID}`;
  await using other = await startServer(() => batchOf([next]));
  await using world = await startWorld();
  expect((await askForBatch(world, server)).equals(body)).toBe(true);
  await askForBatch(world, other);
  const { foretold } = world.downloads;
  await waitFor("the next batch", () => foretold.length > 0);
  expect(foretold.map(({ url }) => url.href)).toEqual([next]);
});

test("credentials in the batch's URL are those of its objects, and grant nothing to a client without them", async () => {
  await using server = await startServer(({ port }) =>
    batchOf([`http://127.0.0.1:${port}/wanted/${OID}`]),
  );
  const foretold = await foretoldBy(server, { userInfo: "user:secret@" });
  const authorization = `Basic ${Buffer.from("user:secret").toString("base64")}`;
  expect(foretold).toMatchObject([
    { isGranted: true, headers: [["Authorization", authorization]] },
  ]);
});

test.each([
  ["a header of the server's own", { headers: { "private-token": "secret" } }],
  ["the batch's query", { query: "?private_token=secret" }],
])(
  "what %s earned is not granted to the objects, which are asked for without it",
  async (_name, request) => {
    await using server = await startServer(({ port }) =>
      batchOf([`http://127.0.0.1:${port}/wanted/${OID}`]),
    );
    expect(await foretoldBy(server, request)).toMatchObject([{ isGranted: false }]);
  },
);

test("an object's headers that belong to the connection are left out", async () => {
  await using server = await startServer(({ port }) =>
    batchOf([`http://127.0.0.1:${port}/wanted/${OID}`], {
      "Transfer-Encoding": "chunked",
      Host: "elsewhere.test",
      "Content-Length": "5",
      "X-Key": "1",
    }),
  );
  expect(await foretoldBy(server)).toMatchObject([{ headers: [["X-Key", "1"]] }]);
});
