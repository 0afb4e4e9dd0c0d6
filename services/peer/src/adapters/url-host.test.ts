import { expect, test } from "vitest";
import { urlHostOf } from "./url-host.ts";

test.each([
  ["H.Example", "h.example"],
  ["bücher.example", "xn--bcher-kva.example"],
  ["0x7f.1", "127.0.0.1"],
  ["[0:0::1]", "[::1]"],
])("%s is the host %s", (text, host) => {
  expect(urlHostOf(text)).toBe(host);
});

test.each(["", "h:80", "h:81", "user@h", "h/path", "h?query", "h#fragment", "[::g]", "1.2.3.4.5"])(
  "%j is no host alone",
  (text) => {
    expect(urlHostOf(text)).toBeUndefined();
  },
);
