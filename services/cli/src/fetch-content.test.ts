import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerWritableStream, status } from "@grpc/grpc-js";
import {
  type DownloadRequest,
  type DownloadResponse,
  PeerApiService,
  type PeerApiServer,
} from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CliError, Interrupted } from "./cli-error.ts";
import { silentBar } from "./download-bar.ts";
import { fetchContent } from "./fetch-content.ts";
import { createPartFile } from "./part-file.ts";
import { connectPeer, type PeerClient } from "./peer-client.ts";

type Call = ServerWritableStream<DownloadRequest, DownloadResponse>;
type Answer = (call: Call) => void;

let directory: string;
let server: Server;
let client: PeerClient;
let answer: Answer;
const requests: DownloadRequest[] = [];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "lacewing-get-"));
  server = new Server();
  const service: PeerApiServer = {
    download: (call) => {
      requests.push(call.request);
      answer(call);
    },
    statTask: (_call, callback) => callback({ code: status.NOT_FOUND, details: "no such task" }),
    listTasks: (_call, callback) => callback(null, { tasks: [], usedBytes: 1, quotaBytes: 2 }),
    removeTask: (_call, callback) =>
      callback({ code: status.FAILED_PRECONDITION, details: "the task is pinned" }),
    pinTask: (_call, callback) => callback({ code: status.NOT_FOUND, details: "no such task" }),
  };
  server.addService(PeerApiService, service);
  const socket = join(directory, "api.sock");
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  client = await connectPeer(socket);
});

afterEach(() => {
  client.close();
  server.forceShutdown();
  rmSync(directory, { recursive: true });
  requests.length = 0;
});

const done = {
  $case: "done",
  value: {
    total: { localPeerBytes: 0, remotePeerBytes: 6, backToSourceBytes: 0 },
    costMs: 12,
    traceId: "abc",
  },
} as const;

function send(call: Call, kind: NonNullable<DownloadResponse["kind"]>): void {
  call.write({ kind });
}

function open(
  call: Call,
  httpStatus: number,
  lengthBytes: number,
  headers: [string, string][] = [],
): void {
  const list = headers.map(([name, value]) => ({ name, value }));
  send(call, { $case: "opened", value: { httpStatus, taskId: "t", lengthBytes, headers: list } });
}

function content(call: Call, text: string): void {
  send(call, { $case: "content", value: Buffer.from(text) });
}

/** Downloads to `file` in the directory of the test. */
async function download(signal = new AbortController().signal, force = false) {
  return fetchContent(
    client,
    { url: new URL("http://o.test/file"), headers: [{ name: "Authorization", value: "secret" }] },
    { openSink: () => createPartFile(join(directory, "file"), { force }), bar: silentBar, signal },
  );
}

async function failureOf(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  );
}

const filesLeft = () => readdirSync(directory).filter((name) => name !== "api.sock");

describe("a download", () => {
  test("that is whole appears under its name, with what it cost", async () => {
    answer = (call) => {
      open(call, 200, 6);
      content(call, "abc");
      content(call, "def");
      send(call, done);
      call.end();
    };
    expect(await download()).toMatchObject({ bytes: 6, traffic: done.value.total, traceId: "abc" });
    expect(readFileSync(join(directory, "file"), "utf8")).toBe("abcdef");
    expect(filesLeft()).toEqual(["file"]);
  });

  test.each<[string, Answer, string]>([
    [
      "that ends before its length",
      (call) => {
        open(call, 200, 6);
        content(call, "abc");
        send(call, done);
        call.end();
      },
      "broke off after 3 of 6 bytes",
    ],
    [
      "that ends without a word",
      (call) => {
        open(call, 200, 0);
        content(call, "abc");
        call.end();
      },
      "broke off after 3 bytes",
    ],
    [
      "that the host breaks off",
      (call) => {
        open(call, 200, 6);
        content(call, "abc");
        call.emit(
          "error",
          Object.assign(new Error("no"), { code: status.ABORTED, details: "anchor mismatch" }),
        );
      },
      "anchor mismatch",
    ],
    [
      "that the origin refuses",
      (call) => {
        open(call, 404, 9);
        content(call, "not found");
        send(call, done);
        call.end();
      },
      "o.test answered 404 for /file",
    ],
  ])("%s is an error and leaves no file", async (_what, behaviour, message) => {
    answer = behaviour;
    const failure = await failureOf(download());
    expect(failure).toBeInstanceOf(CliError);
    expect(String(failure)).toContain(message);
    expect(filesLeft()).toEqual([]);
  });

  test("that is interrupted is cancelled at the host and leaves no file", async () => {
    const controller = new AbortController();
    const cancelled = new Promise<void>((resolve) => {
      answer = (call) => {
        call.on("cancelled", () => resolve());
        open(call, 200, 6);
        content(call, "abc");
        controller.abort(new Interrupted("SIGINT"));
      };
    });
    expect(await failureOf(download(controller.signal))).toMatchObject({ exitCode: 130 });
    await cancelled;
    expect(filesLeft()).toEqual([]);
  });

  test("follows a redirect, and keeps credentials from another server", async () => {
    answer = (call) => {
      if (call.request.url === "http://o.test/file")
        open(call, 302, 0, [["Location", "http://cdn.test/x"]]);
      else {
        open(call, 200, 3);
        content(call, "abc");
        send(call, done);
      }
      call.end();
    };
    expect((await download()).url).toBe("http://cdn.test/x");
    expect(requests.map(({ headers }) => headers.length)).toEqual([1, 0]);
  });

  test("that redirects for ever is given up", async () => {
    answer = (call) => {
      open(call, 302, 0, [["Location", "/again"]]);
      call.end();
    };
    expect(String(await failureOf(download()))).toContain("redirects more than");
  });
});

describe("a file that is there", () => {
  test("is not replaced unless forced, and neither is another download's part", async () => {
    answer = (call) => {
      open(call, 200, 3);
      content(call, "new");
      send(call, done);
      call.end();
    };
    writeFileSync(join(directory, "file"), "old");
    expect(String(await failureOf(download()))).toContain("file exists");
    rmSync(join(directory, "file"));
    writeFileSync(join(directory, "file.part"), "half");
    expect(String(await failureOf(download()))).toContain("file.part exists");
    expect(readFileSync(join(directory, "file.part"), "utf8")).toBe("half");
    await download(new AbortController().signal, true);
    expect(readFileSync(join(directory, "file"), "utf8")).toBe("new");
    expect(existsSync(join(directory, "file.part"))).toBe(false);
  });
});

test("a socket that nobody listens on is a sentence with a hint", async () => {
  const failure = await failureOf(connectPeer(join(directory, "none.sock")));
  expect(failure).toMatchObject({
    message: `no peer service answers at ${join(directory, "none.sock")}`,
    hint: "Is the cluster running? Start it with `npm start` (or `npx lacewing up`).",
  });
});

test("a task the host does not hold is an error with a hint", async () => {
  expect(await failureOf(client.stat({ url: "http://o.test/x" }))).toMatchObject({
    message: "no such task",
    hint: "`lacewing ls` shows what the host holds.",
  });
});
