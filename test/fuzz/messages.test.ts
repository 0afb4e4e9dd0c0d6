import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeEventMessage } from "@lacewing/contracts/events/decode.ts";
import { EventMessage } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { parseHostId } from "@lacewing/contracts/ids.ts";
import { eventsSubject, hostSubject, MIXED, parseSubject } from "@lacewing/contracts/subjects.ts";
import {
  type OfferedObject,
  readBatchAnswer,
} from "@lacewing/peer/adapters/http-proxy/lfs-batch.ts";
import { damaged, damagedText, FUZZ_TIMEOUT_MS, fuzz, textOf } from "../support/fuzz.ts";

const HOST_ID = parseHostId("host-a") ?? expect.fail("a host id");
const TASK_ID = "40".repeat(32);

/** Goal: whatever comes by the broker, the scheduler gets a message that keeps its promises, or a reason. */
test(
  "any bytes on a subject of ours are an event message, or are refused with a reason",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const event = fc.constantFrom<Parameters<typeof EventMessage.fromPartial>[0]>(
      {
        version: 1,
        hostId: HOST_ID,
        bootId: "boot",
        sequence: 1,
        sentAtMs: 1,
        events: [
          {
            traceparent: "",
            kind: {
              $case: "taskVerified",
              value: { taskId: TASK_ID, digest: `sha256:${"ab".repeat(32)}` },
            },
          },
        ],
      },
      {
        version: 1,
        hostId: HOST_ID,
        bootId: "boot",
        sequence: 2,
        sentAtMs: 1,
        events: [
          {
            traceparent: "",
            kind: {
              $case: "piecesAvailable",
              value: {
                taskId: TASK_ID,
                incarnation: 1,
                bitmap: Uint8Array.of(255, 1),
              },
            },
          },
        ],
      },
      {
        version: 1,
        hostId: HOST_ID,
        bootId: "boot",
        sequence: 3,
        sentAtMs: 1,
        events: [
          {
            traceparent: "",
            kind: {
              $case: "taskRequested",
              value: { taskId: TASK_ID, requestId: "r", url: "http://h/", sharingDomain: "h" },
            },
          },
        ],
      },
    );
    const bytes = damaged(
      event.map((message) => EventMessage.encode(EventMessage.fromPartial(message ?? {})).finish()),
    );
    const subject = fc.constantFrom(
      eventsSubject(0, HOST_ID),
      eventsSubject(MIXED, HOST_ID),
      hostSubject(HOST_ID),
      "lw.v1.dec.0",
      "",
      "lw.v1.ev.99.host-a",
    );
    fuzz(
      fc.property(fc.oneof(bytes, fc.uint8Array({ maxLength: 60 })), subject, (data, on) => {
        const decoded = decodeEventMessage(on, data);
        expect(decoded.ok ? decoded.message.hostId === HOST_ID : decoded.reason !== "").toBe(true);
      }),
    );
  },
);

test(
  "a subject is read back as it was built, and any other text is none of ours",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(
        textOf(
          "lw",
          ".",
          "v1",
          "ev",
          "host",
          "dec",
          "mixed",
          "0",
          "63",
          "64",
          "007",
          "host-a",
          "*",
          ">",
        ),
        (text) => {
          const parsed = parseSubject(text);
          const built =
            parsed?.kind === "events"
              ? eventsSubject(parsed.slice, parsed.hostId)
              : parsed?.kind === "host"
                ? hostSubject(parsed.hostId)
                : text;
          expect(built).toBe(text);
        },
      ),
    );
  },
);

/** Goal: a server's batch answer offers objects that can be asked for, or nothing; the relay never notices. */
test(
  "any body of a batch answer offers well-formed objects, or none",
  { timeout: FUZZ_TIMEOUT_MS },
  async () => {
    const valid = JSON.stringify({
      objects: [
        {
          oid: "ab".repeat(32),
          size: 5,
          actions: {
            download: {
              href: "http://h.example/o",
              header: { Authorization: "a", Host: "x", Connection: "y" },
            },
          },
        },
        { oid: "cd".repeat(32), size: 0, actions: { download: { href: "https://h.example/p?q" } } },
        { oid: "01".repeat(32), size: 1, actions: { download: { href: "file:///etc/passwd" } } },
        { oid: "ef".repeat(32), size: 1, error: { code: 404 } },
      ],
    });
    expect(await offeredBy(Buffer.from(valid), "identity")).toHaveLength(2);
    expect(await offeredBy(gzipSync(valid), "gzip")).toHaveLength(2);
    const bodies = fc
      .oneof(damagedText(fc.constant(valid)), fc.json())
      .map((text) => Buffer.from(text, "latin1"));
    fuzz(
      fc.property(bodies, (body) => {
        for (const { digest, href, sizeBytes, headers } of offeredAtOnce(body)) {
          expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
          expect(href.protocol).toMatch(/^https?:$/);
          expect(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0).toBe(true);
          for (const [name] of headers)
            expect(name).not.toMatch(/^(?:host|connection|content-length|range|expect)$/i);
        }
      }),
    );
  },
);

function answerWith(encoding: string): IncomingMessage {
  const answer = new IncomingMessage(new Socket());
  answer.statusCode = 200;
  answer.headers = { "content-type": "application/vnd.git-lfs+json", "content-encoding": encoding };
  return answer;
}

function offeredAtOnce(body: Uint8Array): readonly OfferedObject[] {
  const answer = answerWith("identity");
  let offered: readonly OfferedObject[] = [];
  readBatchAnswer(answer, (objects) => {
    offered = objects;
  });
  answer.emit("data", body);
  answer.emit("end");
  return offered;
}

async function offeredBy(body: Uint8Array, encoding: string): Promise<readonly OfferedObject[]> {
  const answer = answerWith(encoding);
  const offered = new Promise<readonly OfferedObject[]>((resolve) => {
    readBatchAnswer(answer, resolve);
  });
  answer.emit("data", body);
  answer.emit("end");
  return offered;
}
