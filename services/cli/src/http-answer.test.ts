import { describe, expect, test } from "vitest";
import { fileNameOf, parseHeader, redirected, refusalOf } from "./http-answer.ts";

describe("a header of the command line", () => {
  test("is a name, a colon and a value", () => {
    expect(parseHeader("Authorization:  Bearer a:b ")).toEqual({
      name: "Authorization",
      value: "Bearer a:b",
    });
    expect(parseHeader("X-Empty:")).toEqual({ name: "X-Empty", value: "" });
  });

  test.each(["", "no colon", ": value", "Na me: v", "A: b\r\nC: d", "A: b\0"])(
    "%j is none",
    (text) => {
      expect(parseHeader(text)).toBeUndefined();
    },
  );
});

describe("the file name of a URL", () => {
  test.each([
    ["http://a.test/x/model.bin?sig=1", "model.bin"],
    ["http://a.test/a%20b", "a b"],
    ["http://a.test/100%", "100%"],
    ["http://a.test/", undefined],
    ["http://a.test", undefined],
    ["http://a.test/dir/", undefined],
    ["http://a.test/..%2f..%2fetc%2fpasswd", undefined],
    ["http://a.test/%2e%2e", undefined],
    ["http://a.test/a%00b", undefined],
  ])("%s is %s", (url, name) => {
    expect(fileNameOf(new URL(url))).toBe(name);
  });
});

describe("a redirect", () => {
  const request = {
    url: new URL("https://hub.test/a/b"),
    headers: [
      { name: "authorization", value: "secret" },
      { name: "Accept", value: "*/*" },
    ],
  };
  const to = (location: string) =>
    redirected(request, { httpStatus: 307, headers: [{ name: "location", value: location }] });

  test("on the same server keeps the credentials, to another one it does not", () => {
    expect(to("../c")).toEqual({ url: new URL("https://hub.test/c"), headers: request.headers });
    expect(to("http://hub.test/c")?.headers.map(({ name }) => name)).toEqual(["Accept"]);
  });

  test("without a place to go is no redirect", () => {
    expect(to("http://[bad")).toBeUndefined();
    expect(redirected(request, { httpStatus: 304, headers: [] })).toBeUndefined();
  });
});

describe("an answer that is no content", () => {
  test.each([
    [401, "Authorization"],
    [404, "Check the URL"],
    [416, "range"],
    [429, "in 30 s"],
    [502, "failed"],
  ])("with status %d says what to do", (httpStatus, hint) => {
    const headers = [{ name: "Retry-After", value: "30" }];
    const refusal = refusalOf(httpStatus, headers, new URL("http://a.test/x?sig=secret"));
    expect(refusal?.hint).toContain(hint);
    expect(refusal?.message).toBe(`a.test answered ${httpStatus} for /x`);
  });

  test("is none with a status of success", () => {
    expect(refusalOf(206, [], new URL("http://a.test/"))).toBeUndefined();
  });
});
