import { createHmac, timingSafeEqual } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LeaseTokenClaims } from "@lacewing/contracts/gen/lacewing/assignments/v1/lease_token.ts";
import { signLeaseToken, verifyLeaseToken } from "@lacewing/contracts/lease-token.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import {
  BULK_CODE,
  type BulkCode,
  encodeBulkFrames,
  encodeBulkRequest,
  parseBulkFrames,
  parseBulkRequest,
} from "@lacewing/peer/core/bulk-frames.ts";
import { leaseCovers } from "@lacewing/peer/core/piece-http-lease.ts";
import {
  formatContentRange,
  formatPieceRange,
  parseContentRange,
  parsePieceRange,
} from "@lacewing/peer/core/piece-http-range.ts";
import {
  type HeadProgress,
  RESPONSE_HEAD_BYTES_MAX,
  ResponseHeadParser,
} from "@lacewing/peer/core/piece-http-response.ts";
import { damaged, damagedText, FUZZ_TIMEOUT_MS, fuzz, textOf } from "../support/fuzz.ts";

/** Goal: nothing that another host sends makes a parser throw, read beyond what it was given, or understand it in two ways. */

const span = fc
  .tuple(fc.nat(2 ** 40), fc.nat(2 ** 30))
  .map(([start, length]) => ({ start, end: start + length + 1 }));

describe("the head of an answer", () => {
  const field = fc.constantFrom(
    "Content-Length: 5",
    "content-length : 5",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Content-Range: bytes 0-4/9",
    "X: y",
    " folded",
  );
  const head = fc
    .tuple(fc.integer({ min: 200, max: 599 }), fc.nat(2 ** 40), fc.array(field, { maxLength: 3 }))
    .map(([status, length, fields]) =>
      [`HTTP/1.1 ${status} Fine`, `Content-Length: ${length}`, ...fields, "", ""].join("\r\n"),
    );

  function parsed(
    bytes: Uint8Array,
    sizes: readonly number[],
  ): HeadProgress & { readonly total?: number } {
    const parser = new ResponseHeadParser();
    let at = 0;
    let last: HeadProgress = { kind: "more" };
    for (let turn = 0; at < bytes.length; turn++) {
      const size = Math.max(1, sizes[turn % sizes.length] ?? 1);
      const chunk = bytes.subarray(at, at + size);
      last = parser.push(chunk);
      if (last.kind === "head") {
        return { ...last, consumed: 0, total: at + Math.min(last.consumed, chunk.length + 1) };
      }
      if (last.kind === "refused") return last;
      at += chunk.length;
    }
    return last;
  }

  test(
    "is the same however it is cut into packets, damaged or not",
    { timeout: FUZZ_TIMEOUT_MS },
    () => {
      const noise = textOf(
        "HTTP/1.1 200 OK\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        " ",
        ":",
        "Connection: close",
        "Content-Range: bytes 0-1/2",
      );
      const bytes = fc
        .oneof(damagedText(head), noise, head)
        .map((text) => Buffer.from(`${text}body`, "latin1"));
      fuzz(
        fc.property(
          bytes,
          fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
          (all, sizes) => {
            const inOne = parsed(all, [all.length]);
            expect(parsed(all, sizes)).toEqual(inOne);
            if (inOne.kind !== "head") return;
            expect(inOne.total).toBeLessThanOrEqual(Math.min(all.length, RESPONSE_HEAD_BYTES_MAX));
            const text = all.toString("latin1", 0, inOne.total);
            expect(text).toMatch(/\r\n\r\n$/);
            expect(text.match(/^content-length[ \t]*:/gim)).toHaveLength(1);
            expect(text).not.toMatch(/^transfer-encoding/im);
          },
        ),
      );
    },
  );
});

test(
  "ranges between hosts are read back as they were written, and nothing else is a range",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(span, fc.nat(2 ** 30), (wanted, more) => {
        expect(parsePieceRange(formatPieceRange(wanted))).toEqual(wanted);
        const lengthBytes = wanted.end + more;
        expect(parseContentRange(formatContentRange(wanted, lengthBytes))).toEqual({
          span: wanted,
          lengthBytes,
        });
      }),
    );
    fuzz(
      fc.property(
        textOf("bytes=", "bytes ", "-", "/", "*", " ", "9".repeat(15), "9".repeat(16)),
        (text) => {
          for (const read of [parsePieceRange(text), parseContentRange(text)?.span]) {
            expect(read === undefined || read.start < read.end).toBe(true);
          }
        },
      ),
    );
  },
);

test(
  "a lease covers exactly the pieces that some range of it names",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const ranges = fc.array(fc.record({ start: fc.nat(20), count: fc.nat(6) }), { maxLength: 6 });
    fuzz(
      fc.property(ranges, fc.nat(20), fc.nat(8), (leased, start, count) => {
        const pieces = Array.from({ length: count }, (_, index) => start + index);
        const isNamed = (index: number) =>
          leased.some((range) => index >= range.start && index < range.start + range.count);
        expect(leaseCovers(leased, { start, end: start + count })).toBe(pieces.every(isNamed));
      }),
    );
  },
);

describe("many small contents in one exchange", () => {
  const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
  const word = fc.stringMatching(/^[A-Za-z0-9._-]{1,40}$/);
  const entries = fc
    .array(fc.record({ taskId: hex, token: word, traceparent: fc.oneof(fc.constant(""), word) }), {
      minLength: 1,
      maxLength: 5,
    })
    .map((list) =>
      list.flatMap(({ taskId, ...rest }) => {
        const id = parseTaskId(taskId);
        return id === undefined ? [] : [{ taskId: id, ...rest }];
      }),
    );

  test(
    "are asked for by a text that is read back as it was written, or refused",
    { timeout: FUZZ_TIMEOUT_MS },
    () => {
      fuzz(
        fc.property(entries, (list) => {
          expect(parseBulkRequest(encodeBulkRequest(list))).toEqual(list);
        }),
      );
      fuzz(
        fc.property(damagedText(entries.map(encodeBulkRequest)), (text) => {
          for (const { taskId, token } of parseBulkRequest(text) ?? []) {
            expect(parseTaskId(taskId)).toBe(taskId);
            expect(token).not.toMatch(/[\s]/);
          }
        }),
      );
    },
  );

  const CODES = [
    "content",
    "not_held",
    "busy",
    "refused",
    "alone",
  ] as const satisfies readonly BulkCode[];
  const frames = fc.array(
    fc.record({ code: fc.constantFrom(...CODES), content: fc.uint8Array({ maxLength: 50 }) }),
    { minLength: 1, maxLength: 6 },
  );

  test(
    "come in frames that are read back as they were written; of damaged ones nothing lies outside the body",
    { timeout: FUZZ_TIMEOUT_MS },
    () => {
      expect(Object.keys(BULK_CODE)).toEqual([...CODES]);
      const bytesOf = (list: Parameters<typeof encodeBulkFrames>[0]) =>
        Buffer.concat(encodeBulkFrames(list));
      fuzz(
        fc.property(frames, (list) => {
          const read = parseBulkFrames(bytesOf(list), list.length) ?? [];
          expect(read.map(({ code, content }) => ({ code, content: [...content] }))).toEqual(
            list.map(({ code, content }) => ({ code, content: [...content] })),
          );
        }),
      );
      fuzz(
        fc.property(damaged(frames.map(bytesOf)), fc.nat(7), (body, count) => {
          const read = parseBulkFrames(body, count);
          if (read === undefined) return;
          expect(read).toHaveLength(count);
          expect(Buffer.concat(encodeBulkFrames(read)).equals(Buffer.from(body))).toBe(true);
        }),
      );
    },
  );
});

test(
  "a damaged lease token is refused, or is the token that it was",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const hmac = (bytes: Uint8Array) =>
      createHmac("sha256", "secret of the cluster").update(bytes).digest();
    const verify = { hmac, equal: timingSafeEqual };
    const claims = fc
      .record({
        taskId: fc.string(),
        parentHostId: fc.string(),
        childHostId: fc.string(),
        expiresAtMs: fc.integer({ min: 0, max: 2 ** 40 }),
      })
      .map((fields) => LeaseTokenClaims.fromPartial(fields));
    fuzz(
      fc.property(claims, (wanted) => {
        expect(verifyLeaseToken(signLeaseToken(wanted, hmac), 0, verify)).toEqual(wanted);
      }),
    );
    fuzz(
      fc.property(
        claims.chain((wanted) =>
          fc.tuple(fc.constant(wanted), damagedText(fc.constant(signLeaseToken(wanted, hmac)))),
        ),
        ([wanted, token]) => {
          const read = verifyLeaseToken(token, 0, verify);
          expect(["malformed", "forged", wanted]).toContainEqual(read);
        },
      ),
    );
    fuzz(
      fc.property(fc.oneof(fc.string(), textOf(".", "_", "-", "AAAA", "=")), (text) => {
        expect(["malformed", "forged"]).toContain(verifyLeaseToken(text, 0, verify));
      }),
    );
  },
);
