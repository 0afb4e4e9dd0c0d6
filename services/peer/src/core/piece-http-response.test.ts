import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type HeadProgress,
  RESPONSE_HEAD_BYTES_MAX,
  ResponseHeadParser,
  spanMismatch,
} from "./piece-http-response.ts";

const bytes = (text: string) => new Uint8Array(Buffer.from(text, "latin1"));
const parse = (text: string) => new ResponseHeadParser().push(bytes(text));

const GOOD =
  "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/100\r\nRetry-After: 2\r\n\r\n";

/** The end of a parse of `input` cut into pieces at `cuts`, and how many bytes the head took. */
function parseInParts(input: Uint8Array, cuts: readonly number[]) {
  const parser = new ResponseHeadParser();
  const at = [...new Set([0, ...cuts.map((cut) => cut % (input.length + 1)), input.length])];
  at.sort((a, b) => a - b);
  for (let part = 1; part < at.length; part++) {
    const start = at[part - 1] ?? 0;
    const progress = parser.push(input.subarray(start, at[part]));
    if (progress.kind === "head") return { ...progress, consumed: start + progress.consumed };
    if (progress.kind === "refused") return progress;
  }
  return { kind: "more" } as const;
}

describe("the head of a piece server's answer", () => {
  test("gives status, length, range and wait, and tells where the body begins", () => {
    expect(parse(`${GOOD}body`)).toEqual({
      kind: "head",
      consumed: GOOD.length,
      head: {
        status: 206,
        contentLength: 10,
        contentRange: "bytes 5-14/100",
        retryAfterSeconds: 2,
        closes: false,
      },
    } satisfies HeadProgress);
  });

  test("tells when the server closes the connection", () => {
    const progress = parse("HTTP/1.1 206 \r\ncontent-length: 1\r\nConnection: foo, Close\r\n\r\n");
    expect(progress).toMatchObject({ head: { closes: true } });
  });

  test.each([
    ["two content lengths", "HTTP/1.1 206 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n"],
    ["no content length", "HTTP/1.1 206 OK\r\n\r\n"],
    ["a length that is no number", "HTTP/1.1 206 OK\r\nContent-Length: +1\r\n\r\n"],
    ["a length beyond 2^53", "HTTP/1.1 206 OK\r\nContent-Length: 9999999999999999\r\n\r\n"],
    [
      "a transfer coding",
      "HTTP/1.1 206 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ["a folded line", "HTTP/1.1 206 OK\r\nContent-Length: 1\r\n 2\r\n\r\n"],
    ["a space before the colon", "HTTP/1.1 206 OK\r\nContent-Length : 1\r\n\r\n"],
    ["a bare line feed inside", "HTTP/1.1 206 OK\nContent-Length: 1\r\n\r\n"],
    ["a control character", "HTTP/1.1 206 OK\r\nContent-Length: 1\r\nx: \0\r\n\r\n"],
    ["an interim status", "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"],
    ["HTTP/1.0", "HTTP/1.0 206 OK\r\nContent-Length: 1\r\n\r\n"],
    ["another protocol", "SSH-2.0-OpenSSH_9\r\n\r\n"],
    ["a head that does not end", `HTTP/1.1 206 OK\r\nx: ${"a".repeat(RESPONSE_HEAD_BYTES_MAX)}`],
  ])("with %s is refused", (_, text) => {
    expect(parse(text).kind).toBe("refused");
  });

  test("reads the same however its bytes are split", () => {
    const heads = fc.oneof(
      fc.constant(GOOD),
      fc.string().map((value) => GOOD.replace("Retry-After: 2", `x: ${value}`)),
      fc.string({
        unit: fc.constantFrom(
          "\r",
          "\n",
          " ",
          ":",
          "H",
          "T",
          "P",
          "/",
          "1",
          ".",
          "2",
          "0",
          "6",
          "a",
        ),
      }),
    );
    fc.assert(
      fc.property(heads, fc.array(fc.nat(300)), (text, cuts) => {
        expect(parseInParts(bytes(text), cuts)).toEqual(parseInParts(bytes(text), []));
      }),
    );
  });

  test("of garbage is refused or waits for more, and never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20_000 }), (garbage) => {
        expect(["refused", "more"]).toContain(new ResponseHeadParser().push(garbage).kind);
      }),
    );
  });
});

describe("an answer for another span than was asked for", () => {
  const head = {
    status: 206,
    contentLength: 10,
    contentRange: "bytes 5-14/100",
    retryAfterSeconds: undefined,
    closes: false,
  };

  test("is told by its range or its length", () => {
    expect(spanMismatch(head, { start: 5, end: 15 })).toBeUndefined();
    expect(spanMismatch(head, { start: 5, end: 16 })).toContain("5-14, asked for 5-15");
    expect(spanMismatch({ ...head, contentLength: 11 }, { start: 5, end: 15 })).toContain(
      "11 bytes",
    );
    for (const contentRange of [
      undefined,
      "bytes */100",
      "bytes 5-14/*",
      "bytes 5-14/10",
      "5-14/100",
    ]) {
      expect(spanMismatch({ ...head, contentRange }, { start: 5, end: 15 })).toContain("malformed");
    }
  });
});
