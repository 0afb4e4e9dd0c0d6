import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { failedPrecondition, isRangeWanted } from "@lacewing/peer/core/conditions.ts";
import { formatContentRange, parseContentRange } from "@lacewing/peer/core/content-range.ts";
import { parseHttpDate } from "@lacewing/peer/core/http-date.ts";
import {
  endToEndHeaders,
  forwardableTrailers,
  hasVisited,
  type HeaderList,
  withVia,
} from "@lacewing/peer/core/http-headers.ts";
import { parseRange, planResponse, type Representation } from "@lacewing/peer/core/ranges.ts";
import { requestProblem } from "@lacewing/peer/adapters/http-proxy/request-checks.ts";
import { FUZZ_TIMEOUT_MS, fuzz, textOf } from "../support/fuzz.ts";

/** Goal: no field of a request or an answer makes a parser of ours throw, hang, or say something that contradicts itself. */

const LENGTH_MAX = 1000;
/** So small that ranges often touch and overlap. */
const SMALL_MAX = 30;
const rangeText = textOf(
  "bytes=",
  "bytes ",
  "-",
  ",",
  " ",
  "0",
  "999",
  "1000",
  "99999999999999999999",
  "/",
  "*",
  "=",
);

/** A range that is asked of a content, and whether it selects a byte: as RFC 9110 section 14.1.2 says it in words. */
const spec = fc.oneof(
  fc.tuple(fc.nat(SMALL_MAX), fc.nat(SMALL_MAX)).map(([first, more]) => ({
    text: `${first}-${first + more}`,
    selects: (index: number) => index >= first && index <= first + more,
  })),
  fc
    .nat(LENGTH_MAX)
    .map((first) => ({ text: `${first}-`, selects: (index: number) => index >= first })),
  fc.nat(SMALL_MAX).map((count) => ({
    text: `-${count}`,
    selects: (index: number, length: number) => index >= length - count,
  })),
);

describe("Range", () => {
  test(
    "of any text selects spans that are inside, apart and not empty, or nothing",
    { timeout: FUZZ_TIMEOUT_MS },
    () => {
      fuzz(
        fc.property(fc.oneof(rangeText, fc.string()), fc.nat(LENGTH_MAX), (text, length) => {
          const selection = parseRange(text, length);
          if (selection.kind !== "spans") return;
          expect(selection.spans.length).toBeGreaterThan(0);
          const ascending = selection.spans.toSorted((a, b) => a.start - b.start);
          let end = -1;
          for (const span of ascending) {
            expect(span.start).toBeGreaterThan(end);
            expect(span.end).toBeGreaterThan(span.start);
            ({ end } = span);
          }
          expect(end).toBeLessThanOrEqual(length);
        }),
      );
    },
  );

  test(
    "plans exactly the bytes that a reader of the RFC would send, and as many as it announces",
    { timeout: FUZZ_TIMEOUT_MS },
    () => {
      const representation: Representation = {
        lengthBytes: 0,
        etag: '"1"',
        lastModified: "",
        contentType: "a/b",
        extraHeaders: [],
      };
      fuzz(
        fc.property(
          fc.array(spec, { minLength: 1, maxLength: 6 }),
          fc.nat(SMALL_MAX),
          (specs, lengthBytes) => {
            const plan = planResponse({
              method: "GET",
              requestHeaders: [["Range", `bytes=${specs.map(({ text }) => text).join(", ")}`]],
              representation: { ...representation, lengthBytes },
              boundary: "b",
            });
            const wanted = Array.from({ length: lengthBytes }, (_, index) => index).filter(
              (index) => specs.some(({ selects }) => selects(index, lengthBytes)),
            );
            const sent = plan.parts.flatMap(({ span }) =>
              Array.from({ length: span.end - span.start }, (_, at) => span.start + at),
            );
            expect(sent.toSorted((a, b) => a - b)).toEqual(wanted);
            const starts = plan.parts.map(({ span }) => span.start);
            expect(plan.parts.some(({ span }) => starts.includes(span.end))).toBe(false);
            expect(plan.status).toBe(
              wanted.length > 0
                ? 206
                : specs.some(({ text }) => lengthBytes === 0 && /^-[1-9]/.test(text))
                  ? 200
                  : 416,
            );
            const bodyLength = plan.parts.reduce(
              (sum, { prefix }) => sum + prefix.length,
              sent.length + plan.suffix.length,
            );
            expect(plan.bodyLength).toBe(bodyLength);
          },
        ),
      );
    },
  );
});

test(
  "Content-Range is read back as it was written, and never contradicts itself",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(fc.maxSafeNat(), fc.nat(), fc.nat(), (start, length, more) => {
        fc.pre(start + length + more + 1 <= Number.MAX_SAFE_INTEGER);
        const span = { start, end: start + length + 1 };
        const totalBytes = span.end + more;
        expect(parseContentRange(formatContentRange(span, totalBytes))).toEqual({
          span,
          totalBytes,
        });
      }),
    );
    fuzz(
      fc.property(rangeText, (text) => {
        const parsed = parseContentRange(text);
        if (parsed === undefined) return;
        expect(parsed.span.start).toBeLessThan(parsed.span.end);
        expect(parsed.span.end).toBeLessThanOrEqual(parsed.totalBytes ?? Infinity);
      }),
    );
  },
);

test(
  "an HTTP date is the second that it names, and any other text is none or some second",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(
        fc.date({ min: new Date("1970-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }),
        (date) => {
          expect(parseHttpDate(date.toUTCString())).toBe(Math.floor(date.getTime() / 1000));
        },
      ),
    );
    fuzz(
      fc.property(
        textOf("Sun, ", "06", " Nov ", "1994", " 08:49:37", " GMT", "-Nov-", ":", "Sunday, "),
        (text) => {
          expect(Number.isSafeInteger(parseHttpDate(text) ?? 0)).toBe(true);
        },
      ),
    );
  },
);

const name = fc.oneof(
  fc.constantFrom(
    "Connection",
    "Transfer-Encoding",
    "Content-Length",
    "Host",
    "Via",
    "TE",
    "Upgrade",
    "Proxy-X",
    "X-A",
    "Max-Forwards",
    "Trailer",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
  ),
  fc.stringMatching(/^[a-zA-Z0-9-]{1,8}$/),
);
const value = textOf(
  "close",
  "chunked",
  "x-a",
  ",",
  ", ",
  "W/",
  '"',
  "*",
  "1.1 p",
  "0",
  "identity",
  "Sun, 06 Nov 1994 08:49:37 GMT",
);
const headers: fc.Arbitrary<HeaderList> = fc.array(fc.tuple(name, value), { maxLength: 8 });

test(
  "of any headers only those that mean something at the end go on, and going on twice changes nothing",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(headers, (list) => {
        const passed = endToEndHeaders(list);
        expect(endToEndHeaders(passed)).toEqual(passed);
        for (const [passedName] of passed) {
          expect(passedName).not.toMatch(
            /^(?:connection|keep-alive|te|transfer-encoding|upgrade|proxy-.*)$/i,
          );
        }
        expect(passed.filter(([known]) => /^(?:host|content-length)$/i.test(known))).toEqual(
          list.filter(([known]) => /^(?:host|content-length)$/i.test(known)),
        );
        for (const [trailer] of forwardableTrailers(list)) {
          expect(trailer).not.toMatch(/^(?:host|content-length|transfer-encoding|trailer|via)$/i);
        }
        expect(hasVisited(withVia(list, "1.1", "our-proxy"), "our-proxy")).toBe(true);
      }),
    );
  },
);

test(
  "any conditions end in content, 304 or 412, and any request in a problem with a status or in none",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    const validators = fc.record({
      etag: fc.constantFrom("", '"a"', 'W/"a"'),
      lastModified: value,
    });
    fuzz(
      fc.property(
        headers,
        validators,
        fc.constantFrom("GET", "OPTIONS", "TRACE"),
        (list, known, method) => {
          expect([undefined, 304, 412]).toContain(failedPrecondition(list, known));
          expect([true, false]).toContain(isRangeWanted(list, known));
          const problem = requestProblem({
            headers: list,
            httpVersion: "1.1",
            method,
            viaName: "p",
            headerCountMax: 5,
          });
          const isFramedTwice =
            list.some(([known_]) => /^content-length$/i.test(known_)) &&
            list.some(
              ([known_, text]) => /^transfer-encoding$/i.test(known_) && /[^\s,]/.test(text),
            );
          expect(problem === undefined ? isFramedTwice : problem.status < 400).toBe(false);
        },
      ),
    );
  },
);
