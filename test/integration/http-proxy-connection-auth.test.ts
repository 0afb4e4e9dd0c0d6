import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Agent, request as startRequest } from "node:http";
import { text } from "node:stream/consumers";
import { startWorld, type ProxyWorld } from "../support/http-proxy-world.ts";
import {
  type ConnectionUsersOrigin,
  PRIVATE,
  startConnectionUsersOrigin,
} from "../support/connection-users-origin.ts";
import { waitFor } from "../support/wait-for.ts";

let world: ProxyWorld;
let origin: ConnectionUsersOrigin;
const clients: Agent[] = [];
beforeAll(async () => {
  world = await startWorld({ rules: [{ regex: "/direct/", direct: true }] });
});
afterAll(async () => world?.[Symbol.asyncDispose]());
beforeEach(async () => {
  origin = await startConnectionUsersOrigin();
  world.downloads.asked.length = 0;
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await origin[Symbol.asyncDispose]();
});

/** A client with one connection to the proxy. */
function aClient() {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  clients.push(agent);
  return async (path: string, authorization?: string, body?: string) => {
    const { port } = world.proxy.address;
    const url = `http://127.0.0.1:${origin.port}${path}`;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fields = { host: "x", ...(authorization === undefined ? {} : { authorization }) };
    const length = body === undefined ? {} : { "content-length": String(body.length) };
    const asked = startRequest({
      host: "127.0.0.1",
      port,
      path: url,
      method: body === undefined ? "GET" : "POST",
      headers: { ...fields, ...length },
      agent,
    });
    asked.once("error", reject);
    asked.once("response", (answer) => {
      const support = String(answer.headers["proxy-support"] ?? "");
      text(answer).then((got) => resolve(`${answer.statusCode} ${support}${got}`), reject);
    });
    asked.end(body);
    return promise;
  };
}

const WANTED = "401 Session-Based-Authentication";
const LET_IN = `200 ${PRIVATE}`;
const connections = () => origin.requests.map(({ connection }) => connection);

describe("an origin that tells users apart by connection", () => {
  test.each(["/plain", "/wanted/x", "/direct/x"])(
    "%s: what one client's connection earned is that client's alone",
    async (path) => {
      const [alice, bob] = [aClient(), aClient()];
      expect(await alice(path, "NTLM type1")).toBe(WANTED);
      expect(await alice(path, "NTLM type3")).toBe(LET_IN);
      expect(await alice(path)).toBe(LET_IN);
      expect(new Set(connections()).size).toBe(1);
      expect(world.downloads.asked).toEqual([]);
      expect(await bob("/plain")).toBe(WANTED);
      expect(new Set(connections()).size).toBe(2);
    },
  );

  test("others still get by the rule what one client gets on its own connection", async () => {
    await aClient()("/wanted/x", "NTLM type1");
    await aClient()("/wanted/x");
    expect(world.downloads.asked).toHaveLength(1);
  });

  test.each(["ntlm type3", "NEGOTIATE type3", "Kerberos type3"])("as %s", async (credentials) => {
    const [alice, bob] = [aClient(), aClient()];
    const [scheme] = credentials.split(" ");
    await alice("/x", `${scheme} type1`);
    expect(await alice("/x", credentials)).toBe(LET_IN);
    expect(await bob("/x")).toBe(WANTED);
  });

  test("a client's uploads are on its own connection too", async () => {
    const alice = aClient();
    await alice("/x", "NTLM type1", "");
    expect(await alice("/x", "NTLM type3", "content")).toBe(LET_IN);
    expect(await alice("/x", undefined, "content")).toBe(LET_IN);
    expect(new Set(connections()).size).toBe(1);
  });

  test("nobody is sent on a connection on which another was asked for such credentials", async () => {
    const [alice, bob] = [aClient(), aClient()];
    expect([await alice("/x"), await bob("/x")]).toEqual([WANTED, WANTED]);
    expect(new Set(connections()).size).toBe(2);
  });

  test("its connection is closed with the client's", async () => {
    const alice = aClient();
    await alice("/x", "NTLM type1");
    await alice("/x", "NTLM type3");
    const open = async () =>
      new Promise<number>((resolve) => {
        origin.server.getConnections((_error, count) => resolve(count));
      });
    expect(await open()).toBe(1);
    clients[0]?.destroy();
    await waitFor("the connection is closed", async () => (await open()) === 0);
  });

  test("a connection that the origin closed is made anew, and the client asked again who it is", async () => {
    const alice = aClient();
    await alice("/x", "NTLM type1");
    expect(await alice("/x", "NTLM type3")).toBe(LET_IN);
    origin.server.closeAllConnections();
    expect(await alice("/x")).toBe(WANTED);
    await alice("/x", "NTLM type1");
    expect(await alice("/x", "NTLM type3")).toBe(LET_IN);
  });

  test("why its content is not shared is told once", async () => {
    const alice = aClient();
    await alice("/wanted/x", "NTLM type1");
    await alice("/wanted/x", "NTLM type3");
    const host = `127.0.0.1:${origin.port}`;
    const told = world.log.entries.filter(
      ({ event, fields }) => event === "request_not_shared" && fields["host"] === host,
    );
    expect(told.map(({ fields }) => fields["reason"])).toEqual(["connection_credentials"]);
    expect(world.downloads.asked).toEqual([]);
  });
});
