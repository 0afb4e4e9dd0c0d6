import { expect, test } from "vitest";
import { parseOptions, UsageError } from "./options.ts";

test("without arguments the demo runs 64 MiB and 256 MiB over the document's link", () => {
  expect(parseOptions([])).toEqual({
    sizes: [67_108_864, 268_435_456],
    originRate: 12_500_000,
    via: "url_prefix",
    isJson: false,
    svgFile: "demo.svg",
    isKept: false,
  });
});

test("the document's own sizes and route can be asked for", () => {
  const options = parseOptions(["--sizes", "512M,1G", "--via", "http-proxy", "--json", "--keep"]);
  expect(options).toMatchObject({
    sizes: [536_870_912, 1_073_741_824],
    via: "http_proxy",
    isJson: true,
    isKept: true,
  });
});

test.each([
  [["--size", "1G"]],
  [["--sizes", "big"]],
  [["--sizes", "64M,"]],
  [["--sizes", "65G"]],
  [["--origin-rate", "0"]],
  [["--via", "carrier-pigeon"]],
  [["extra"]],
])("%j is refused with the right use", (args) => {
  expect(() => parseOptions(args)).toThrow(UsageError);
  expect(() => parseOptions(args)).toThrow("--origin-rate RATE");
});
