import { expect, test } from "vitest";
import {
  endToEndHeaders,
  flatOfHeaders,
  forwardableTrailers,
  hasVisited,
  headerItems,
  headersOfFlat,
  withVia,
  type HeaderList,
} from "./http-headers.ts";

test("what concerns one hop only is not passed on", () => {
  const headers: HeaderList = [
    ["Host", "a"],
    ["Connection", "keep-alive, X-Secret-Hop"],
    ["connection", "close"],
    ["Keep-Alive", "timeout=5"],
    ["X-Secret-Hop", "1"],
    ["TE", "trailers"],
    ["Transfer-Encoding", "chunked"],
    ["Upgrade", "h2c"],
    ["Proxy-Authorization", "Basic x"],
    ["Proxy-Connection", "keep-alive"],
    ["Trailer", "X-Sum"],
    ["Accept", "*/*"],
  ];
  expect(endToEndHeaders(headers).map(([name]) => name)).toEqual(["Host", "Trailer", "Accept"]);
});

test("Connection cannot take away what the message means", () => {
  const headers: HeaderList = [
    ["Connection", "content-length, authorization, x"],
    ["Content-Length", "5"],
    ["Authorization", "Basic x"],
    ["X", "1"],
  ];
  expect(endToEndHeaders(headers).map(([name]) => name)).toEqual([
    "Content-Length",
    "Authorization",
  ]);
});

test("trailers that would change framing, routing or access are dropped", () => {
  const trailers: HeaderList = [
    ["X-Sum", "1"],
    ["Content-Length", "5"],
    ["Authorization", "x"],
    ["Transfer-Encoding", "chunked"],
  ];
  expect(forwardableTrailers(trailers)).toEqual([["X-Sum", "1"]]);
});

test("a message that was here before is known by its Via, over several lines and with comments", () => {
  const passed = withVia([["Via", "1.0 fred, 1.1 p.example (squid)"]], "1.1", "lacewing-h1");
  expect(hasVisited(passed, "Lacewing-H1")).toBe(true);
  expect(hasVisited(passed, "p.example")).toBe(true);
  expect(hasVisited(passed, "lacewing-h2")).toBe(false);
});

test("a list survives the flat form, repeated names and order included", () => {
  const headers: HeaderList = [
    ["A", "1"],
    ["B", "2"],
    ["a", "3, 4"],
  ];
  expect(headersOfFlat(flatOfHeaders(headers))).toEqual(headers);
  expect(headerItems(headers, "a")).toEqual(["1", "3", "4"]);
});
