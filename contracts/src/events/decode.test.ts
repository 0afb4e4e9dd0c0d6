import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SAMPLES } from "../../scripts/fixture-samples.ts";
import { type Event, EventMessage } from "../gen/lacewing/events/v1/events.ts";
import {
  ANNOUNCED_IDS_MAX,
  EVENTS_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
  PIECE_COUNT_MAX,
  TEXT_LENGTH_MAX,
  RETRY_AFTER_MS_MAX,
  TOLD_BYTES_MAX,
  TOLD_DURATION_MS_MAX,
  TOLD_REQUEST_COUNT_MAX,
} from "../limits.ts";
import { CONTENT_LENGTH_BYTES_MAX, PIECE_LENGTH_BYTES_MIN } from "../piece-length.ts";
import { HOST_SLICE } from "../slices.ts";
import { decodeEventMessage } from "./decode.ts";

type Kind = NonNullable<Event["kind"]>;
type Case = Kind["$case"];

/** The good sample of a kind, as {@link refusalOf} takes it, with some fields of its value replaced. */
function changed(
  kind: Case,
  fields: object,
): { readonly subject: string; readonly message: EventMessage } {
  const sample = SAMPLES["events-v1"][kind];
  const good = sample?.message.events[0]?.kind;
  if (sample === undefined || good === undefined) throw new Error(`no sample of ${kind}`);
  const bad = Object.assign({}, good, { value: { ...good.value, ...fields } });
  return {
    subject: sample.subject,
    message: { ...sample.message, events: [{ traceparent: "", kind: bad }] },
  };
}

/** Why the message, or one of its events, is refused; `undefined` when nothing is. */
function refusalOf(input: {
  readonly subject: string;
  readonly message: EventMessage;
}): string | undefined {
  const decoded = decodeEventMessage(input.subject, EventMessage.encode(input.message).finish());
  return decoded.ok ? decoded.refused : decoded.reason;
}

const GOOD = changed("taskRequested", {});
const TOO_LONG = "x".repeat(TEXT_LENGTH_MAX + 1);
const OTHER_TASK = "01".repeat(32);

describe("an event message", () => {
  test.each(Object.entries(SAMPLES["events-v1"]))(
    "of %s is accepted as it was sent",
    (_kind, sample) => {
      const bytes = EventMessage.encode(sample.message).finish();
      expect(decodeEventMessage(sample.subject, bytes)).toMatchObject({
        ok: true,
        message: sample.message,
        subject: { hostId: "host-1" },
      });
    },
  );

  test("about tasks of several slices is taken on the subject for these", () => {
    const ofOther = changed("taskVerified", { taskId: OTHER_TASK });
    const events = [...GOOD.message.events, ...ofOther.message.events];
    const message = { ...GOOD.message, events };
    expect(refusalOf({ subject: "lw.v1.ev.mixed.host-1", message })).toBeUndefined();
    expect(refusalOf({ subject: "lw.v1.ev.0.host-1", message })).toContain(
      "event 1 (taskVerified)",
    );
  });

  test("loses only those of its events that cannot be taken", () => {
    const bad = changed("taskVerified", { taskId: "none" }).message.events;
    const events = [...bad, ...GOOD.message.events, ...bad];
    const bytes = EventMessage.encode({ ...GOOD.message, events }).finish();
    expect(decodeEventMessage(GOOD.subject, bytes)).toMatchObject({
      ok: true,
      message: GOOD.message,
      refused: "event 0 (taskVerified): task id is malformed",
    });
  });

  test.each([
    ["on a subject that is none of ours", "lw.v1.assign.host-1", "carries no events"],
    ["on a decision log", "lw.v1.dec.0", "carries no events"],
    ["on another host's subject", "lw.v1.ev.0.host-2", "host host-1 on the subject of host-2"],
    ["about a task of another slice", "lw.v1.ev.1.host-1", "task of slice 0 on slice 1"],
    ["on the subject of several slices of another host", "lw.v1.ev.mixed.host-2", "host host-1 on"],
    ["about a task on the host subject", "lw.v1.host.host-1", "belongs on a slice subject"],
  ])("%s is refused", (_what, subject, reason) => {
    expect(refusalOf({ ...GOOD, subject })).toContain(reason);
  });

  test.each([
    ["of version 0", { version: 0 }, "version 0, known is 1"],
    ["of a version to come", { version: 2 }, "version 2, known is 1"],
    ["of a malformed boot", { bootId: "a b" }, "boot id is malformed"],
    ["without a boot", { bootId: "" }, "boot id is malformed"],
    [
      "with an event of no known kind",
      { events: [{ traceparent: "", kind: undefined }] },
      "event 0 (empty): no kind",
    ],
    [
      "with more events than one folding step may hold",
      {
        events: Array.from({ length: EVENTS_PER_MESSAGE_MAX + 1 }, () => ({
          traceparent: "",
          kind: undefined,
        })),
      },
      `${EVENTS_PER_MESSAGE_MAX + 1} events, more than ${EVENTS_PER_MESSAGE_MAX}`,
    ],
    [
      "with a traceparent that is none",
      { events: [{ traceparent: "0".repeat(65), kind: GOOD.message.events[0]?.kind }] },
      "traceparent is too long",
    ],
  ])("%s is refused", (_what, fields, reason) => {
    expect(refusalOf({ ...GOOD, message: { ...GOOD.message, ...fields } })).toContain(reason);
  });

  test("larger than a NATS message is refused before it is decoded", () => {
    const decoded = decodeEventMessage(GOOD.subject, new Uint8Array(MESSAGE_BYTES_MAX + 1));
    expect(decoded.ok ? undefined : decoded.reason).toContain("bytes, more than");
  });

  test("names the first bad event among good ones", () => {
    const good = GOOD.message.events[0];
    const bad = changed("taskRequested", { taskId: "nope" }).message.events[0];
    if (good === undefined || bad === undefined) throw new Error("no samples");
    const message = { ...GOOD.message, events: [good, bad, good] };
    expect(refusalOf({ ...GOOD, message })).toBe("event 1 (taskRequested): task id is malformed");
  });
});

const NO_BYTES = { localPeer: 0, remotePeer: 0, backToSource: 0 };

function endedLease(change: { readonly bytes?: number; readonly durationMs?: number }) {
  return { leaseId: "5-1-1", bytes: 0, durationMs: 0, ...change };
}

const REFUSED_FIELDS: readonly (readonly [Case, object, string])[] = [
  ["hostAnnounced", { kind: "super" }, 'host kind "super"'],
  ["hostAnnounced", { kind: "" }, 'host kind ""'],
  ["hostAnnounced", { location: TOO_LONG }, "a text of"],
  ["hostAnnounced", { transferAddress: TOO_LONG }, "a text of"],
  ["hostAnnounced", { liveLeaseIds: ["a b"] }, "lease id is malformed"],
  ["hostAnnounced", { liveRequestIds: [""] }, "request id is malformed"],
  [
    "hostAnnounced",
    { liveLeaseIds: Array.from({ length: ANNOUNCED_IDS_MAX }, () => "a"), liveRequestIds: ["b"] },
    `${ANNOUNCED_IDS_MAX + 1} ids, more than ${ANNOUNCED_IDS_MAX}`,
  ],
  ["taskRequested", { taskId: "" }, "task id is malformed"],
  ["taskRequested", { taskId: OTHER_TASK }, "task of slice 1 on slice 0"],
  ["taskRequested", { requestId: "a.b" }, "request id is malformed"],
  ["taskRequested", { anchor: "md5:1" }, "anchor is not"],
  ["taskRequested", { wantedStart: 5, wantedEnd: 4 }, "ends at 4 before it starts at 5"],
  ["taskRequested", { url: TOO_LONG }, `more than ${TEXT_LENGTH_MAX}`],
  ["requestEnded", { taskId: "x" }, "task id is malformed"],
  ["requestEnded", { requestId: "" }, "request id is malformed"],
  ["taskDescribed", { taskId: "x" }, "task id is malformed"],
  ["taskDescribed", { lengthBytes: CONTENT_LENGTH_BYTES_MAX + 1 }, "bytes is more than"],
  ["taskDescribed", { pieceLengthBytes: 0 }, "piece length 0 bytes"],
  ["taskDescribed", { pieceLengthBytes: 3 * PIECE_LENGTH_BYTES_MIN }, "piece length 3145728 bytes"],
  [
    "taskDescribed",
    { lengthBytes: CONTENT_LENGTH_BYTES_MAX, pieceLengthBytes: PIECE_LENGTH_BYTES_MIN },
    `pieces, more than ${PIECE_COUNT_MAX}`,
  ],
  ["taskDescribed", { anchor: "x" }, "anchor is not"],
  ["taskDescribed", { etag: TOO_LONG }, "a text of"],
  ["piecesAvailable", { taskId: "x" }, "task id is malformed"],
  ["piecesAvailable", { bitmap: new Uint8Array(PIECE_COUNT_MAX / 8 + 1) }, "bitmap of 32769 bytes"],
  [
    "piecesAvailable",
    { digests: [{ pieceIndex: 0, sha256: new Uint8Array(31) }] },
    "a digest is not 32 bytes",
  ],
  [
    "piecesAvailable",
    { digests: [{ pieceIndex: PIECE_COUNT_MAX, sha256: new Uint8Array(32) }] },
    `piece ${PIECE_COUNT_MAX} is beyond`,
  ],
  [
    "piecesAvailable",
    { leasesEnded: [{ leaseId: "", bytes: 0, durationMs: 0 }] },
    "lease id is malformed",
  ],
  ["piecesFailed", { taskId: "x" }, "task id is malformed"],
  ["piecesFailed", { reason: "because" }, 'reason "because"'],
  ["piecesFailed", { parentHostId: "a b" }, "parent id is malformed"],
  ["piecesFailed", { pieceIndexes: [PIECE_COUNT_MAX] }, `piece ${PIECE_COUNT_MAX} is beyond`],
  [
    "piecesFailed",
    { pieceIndexes: Array.from({ length: PIECE_COUNT_MAX + 1 }, () => 0) },
    `${PIECE_COUNT_MAX + 1} pieces`,
  ],
  ["piecesFailed", { detail: TOO_LONG }, "a text of"],
  ["piecesFailed", { retryAfterMs: RETRY_AFTER_MS_MAX + 1 }, "retry after 3600001 ms, more than"],
  ["peerDropped", { taskId: "x" }, "task id is malformed"],
  ["peerDropped", { reason: TOO_LONG }, "a text of"],
  ["taskVerified", { taskId: "x" }, "task id is malformed"],
  ["taskVerified", { digest: "sha256:1" }, "anchor is not"],
  ["taskPoisoned", { taskId: "x" }, "task id is malformed"],
  ["taskPoisoned", { expectedDigest: TOO_LONG }, "a text of"],
  ["downloadFinished", { outcome: "great" }, 'outcome "great"'],
  ["downloadFinished", { downloadId: "" }, "request id is malformed"],
  ["downloadFinished", { taskId: "x" }, "task id is malformed"],
  ["downloadFinished", { taskId: OTHER_TASK }, "task of slice 1 on slice 0"],
  ["downloadFinished", { url: TOO_LONG }, "a text of"],
  ...(["localPeer", "remotePeer", "backToSource"] as const).flatMap((traffic) =>
    (["fetched", "delivered"] as const).map(
      (field) =>
        [
          "downloadFinished",
          { [field]: { ...NO_BYTES, [traffic]: TOLD_BYTES_MAX + 1 } },
          `${TOLD_BYTES_MAX + 1} bytes, more than ${TOLD_BYTES_MAX}`,
        ] as const,
    ),
  ),
  ["downloadFinished", { probeBytes: Number.MAX_SAFE_INTEGER }, "bytes, more than"],
  ["downloadFinished", { ttfbMs: TOLD_DURATION_MS_MAX + 1 }, "ms, more than"],
  ["downloadFinished", { costMs: TOLD_DURATION_MS_MAX + 1 }, "ms, more than"],
  ["downloadFinished", { requestCount: TOLD_REQUEST_COUNT_MAX + 1 }, "requests, more than"],
  [
    "piecesAvailable",
    { leasesEnded: [endedLease({ bytes: TOLD_BYTES_MAX + 1 })] },
    "bytes, more than",
  ],
  [
    "piecesAvailable",
    { leasesEnded: [endedLease({ durationMs: TOLD_DURATION_MS_MAX + 1 })] },
    "ms, more than",
  ],
];

describe("an event at the edge", () => {
  test.each(REFUSED_FIELDS)("%s with %o is refused: %s", (kind, fields, reason) => {
    expect(refusalOf(changed(kind, fields))).toContain(reason);
  });

  test.each(["hostAnnounced", "hostLeft"] as const)("%s belongs on the host subject", (kind) => {
    const onSlice = { ...changed(kind, {}), subject: GOOD.subject };
    expect(refusalOf(onSlice)).toContain("belongs on the host subject");
  });

  test("a download that became no task is reported on the slice of the host's facts", () => {
    const passedThrough = changed("downloadFinished", { taskId: "" });
    expect(
      refusalOf({ ...passedThrough, subject: `lw.v1.ev.${HOST_SLICE}.host-1` }),
    ).toBeUndefined();
  });

  test("a download of the most that can be told is accepted", () => {
    const most = {
      fetched: { ...NO_BYTES, backToSource: TOLD_BYTES_MAX },
      delivered: { ...NO_BYTES, localPeer: TOLD_BYTES_MAX },
      costMs: TOLD_DURATION_MS_MAX,
      requestCount: TOLD_REQUEST_COUNT_MAX,
      contentLengthBytes: Number.MAX_SAFE_INTEGER,
    };
    expect(refusalOf(changed("downloadFinished", most))).toBeUndefined();
  });

  test("a lease without a parent failed at the origin, and is accepted", () => {
    expect(refusalOf(changed("piecesFailed", { parentHostId: "" }))).toBeUndefined();
  });
});

/**
 * Goal: nothing that arrives on a subject can stop a scheduler.
 *
 * Method: arbitrary bytes, damaged good messages, and well-formed messages with arbitrary values. Each is either refused
 * with a reason or accepted; a throw fails the property.
 */
describe("whatever arrives", () => {
  const subjects = fc.oneof(
    fc.constantFrom(GOOD.subject, "lw.v1.host.host-1", "lw.v1.dec.0", ""),
    fc.string(),
  );

  test("arbitrary bytes are answered, not thrown at", () => {
    fc.assert(
      fc.property(subjects, fc.uint8Array({ maxLength: 200 }), (subject, bytes) => {
        expect(decodeEventMessage(subject, bytes).ok).toBeTypeOf("boolean");
      }),
      { numRuns: 1000 },
    );
  });

  test("a good message with bytes changed or cut off is answered", () => {
    const samples = Object.values(SAMPLES["events-v1"]);
    const damages = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
    fc.assert(
      fc.property(fc.nat(), damages, fc.nat(), (pick, damage, cut) => {
        const sample = samples[pick % samples.length];
        if (sample === undefined) return;
        const bytes = EventMessage.encode(sample.message).finish();
        for (const [at, value] of damage) bytes[at % bytes.length] = value;
        const kept = bytes.subarray(0, bytes.length - (cut % 8));
        expect(decodeEventMessage(sample.subject, kept).ok).toBeTypeOf("boolean");
      }),
      { numRuns: 2000 },
    );
  });

  test("numbers beyond 2^53 are refused, not rounded", () => {
    // EventMessage.sequence (field 4) as the varint 2^64 - 1.
    const bytes = Uint8Array.of(0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01);
    const decoded = decodeEventMessage(GOOD.subject, bytes);
    expect(decoded.ok ? undefined : decoded.reason).toContain("not an event message");
  });

  test("well-formed messages with arbitrary values are answered", () => {
    const cases = Object.keys(SAMPLES["events-v1"]).filter(isCase);
    fc.assert(
      fc.property(fc.constantFrom(...cases), arbitraryFields(), (kind, fields) => {
        const good = changed(kind, {}).message.events[0]?.kind?.value ?? {};
        expect([undefined, expect.any(String)]).toContainEqual(
          refusalOf(changed(kind, withValues(good, fields))),
        );
      }),
      { numRuns: 1000 },
    );
  });
});

interface ArbitraryField {
  readonly text: string;
  readonly number: number;
  readonly bytes: Uint8Array;
}

function arbitraryFields(): fc.Arbitrary<readonly ArbitraryField[]> {
  const words = fc.constantFrom("", "normal", "finished", "busy");
  return fc.array(
    fc.record({
      text: fc.oneof(fc.string({ unit: "binary" }), words),
      number: fc.nat(2 ** 32 - 1),
      bytes: fc.uint8Array({ maxLength: 40 }),
    }),
    { minLength: 1, maxLength: 24 },
  );
}

/** The record with every field replaced by an arbitrary one of the same type; records in lists stay as they are. */
function withValues(good: object, fields: readonly ArbitraryField[]): object {
  let used = 0;
  const like = (value: unknown): unknown => {
    const field = fields[used++ % fields.length];
    if (typeof value === "string") return field?.text;
    if (typeof value === "number") return field?.number;
    if (value instanceof Uint8Array) return field?.bytes;
    return Array.isArray(value) ? value.map(like) : value;
  };
  const arbitrary: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(good)) arbitrary[name] = like(value);
  return arbitrary;
}

function isCase(kind: string): kind is Case {
  return kind in SAMPLES["events-v1"];
}
