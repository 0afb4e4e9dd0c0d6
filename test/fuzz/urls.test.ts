import { hash } from "node:crypto";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  parseConnectTarget,
  parseRequestTarget,
} from "@lacewing/peer/adapters/http-proxy/request-target.ts";
import {
  anchorFromUrl,
  canonicalUrl,
  taskKey,
  urlWithoutSecrets,
} from "@lacewing/peer/core/identity.ts";
import { identifyingParams } from "@lacewing/contracts/query-filters.ts";
import { queryParamsOf } from "@lacewing/contracts/url-parts.ts";
import { chooseTask } from "@lacewing/scheduler/app/explain/url-choice.ts";
import { FUZZ_TIMEOUT_MS, fuzz, textOf } from "../support/fuzz.ts";
import { task } from "../support/projection-world.ts";

const target = textOf(
  "http://",
  "https://",
  "/url/",
  "http:/",
  "/",
  "//",
  "\\",
  "@",
  ":",
  "?",
  "#",
  "..",
  "%2e",
  "%2F",
  "host.example",
  "[::1]",
  "127.1",
  "user:pw@",
  ":80",
  ":99999",
  "*",
);

/**
 * Goal: whatever a client writes, the host that rules and permissions look at is the host that is asked, and the path is the one
 * that the client wrote.
 */
test(
  "a request target is understood in one way, or not at all",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(
        fc.oneof(target, fc.webUrl({ withQueryParameters: true, withFragments: true })),
        (text) => {
          const parsed = parseRequestTarget(text);
          if (parsed.kind !== "origin") return;
          expect(parsed.url.hostname).not.toBe("");
          expect(parsed.path).toMatch(/^\//);
          expect(parsed.path).not.toContain("#");
          expect(text).toContain(parsed.path.slice(1));
          expect(parsed.url.username + parsed.url.password + parsed.url.hash).toBe("");
          // Another reader, which takes the authority for what stands between the slashes, agrees.
          const again = new URL(`${parsed.url.protocol}//${parsed.url.host}${parsed.path}`);
          expect([again.host, again.pathname, again.search]).toEqual([
            parsed.url.host,
            parsed.url.pathname,
            parsed.url.search,
          ]);
          const authority =
            /^(?:\/url\/)?https?:\/+([^/?#]*)/i.exec(text)?.[1]?.replace(/^.*@/, "") ?? "";
          expect(new URL(`${parsed.url.protocol}//${authority}/`).host).toBe(parsed.url.host);
        },
      ),
    );
  },
);

test("a CONNECT target names a host and a port, or is none", { timeout: FUZZ_TIMEOUT_MS }, () => {
  fuzz(
    fc.property(target, (text) => {
      const parsed = parseConnectTarget(text);
      if (parsed === undefined) return;
      expect(parsed.host).toMatch(/^[^/?#@\s[\]]+$/);
      expect(parsed.port).toBeGreaterThan(0);
      expect(parsed.port).toBeLessThan(65_536);
    }),
  );
});

const query = textOf(
  "&",
  "=",
  "X-Amz-Signature",
  "Signature",
  "Expires",
  "Key-Pair-Id",
  "token",
  "actor_id",
  "repo_id",
  "sv",
  "sig",
  "%",
  "%zz",
  "+",
  "a",
  "ns",
);

/** Goal: what is filtered is never what tells two contents apart, and filtering twice is filtering once. */
test(
  "of any query the identifying parameters are some of those that were written, in their order",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(query, fc.array(fc.constantFrom("a", "token", "A")), (search, alsoFiltered) => {
        const url = new URL(`https://h.example/f?${search}`);
        const all = queryParamsOf(url).map(({ text }) => text);
        const kept = identifyingParams(url, alsoFiltered).map(({ text }) => text);
        let at = 0;
        for (const text of kept) {
          at = all.indexOf(text, at) + 1;
          expect(at).toBeGreaterThan(0);
        }
        const rule = { filteredQueryParams: alsoFiltered };
        const canonical = canonicalUrl(url, rule);
        expect(canonicalUrl(new URL(canonical), rule)).toBe(canonical);
        expect(urlWithoutSecrets(url)).toBe("https://h.example/f");
      }),
    );
  },
);

/** Goal: host and scheduler name content alike, whatever parameters a rule of the host leaves out. */
test(
  "content that a host named by its URL is found by that URL",
  { timeout: FUZZ_TIMEOUT_MS },
  () => {
    fuzz(
      fc.property(query, fc.array(fc.constantFrom("a", "token", "A")), (search, alsoFiltered) => {
        const url = new URL(`https://h.example/f?${search}`);
        const key = taskKey({
          anchor: undefined,
          canonicalUrl: canonicalUrl(url, { filteredQueryParams: alsoFiltered }),
          strongValidator: task.etag,
        });
        const taskId = taskIdOf(task.sharingDomain, key ?? [], (text) => hash("sha256", text));
        const { pieceDigests: _, ...row } = task;
        const stored = { ...row, anchor: "", taskId, url: urlWithoutSecrets(url) };
        expect(chooseTask(url, [stored])).toMatchObject({ kind: "chosen", task: { taskId } });
      }),
    );
  },
);

const path = textOf(
  "/",
  "lfs",
  "v2/",
  "blobs/",
  "sha256:",
  "sha256/",
  "data",
  "ab",
  "cd",
  "0123456789abcdef".repeat(4),
  "0123456789abcdef".repeat(4).slice(4),
);

test("the digest that a path names stands in the path", { timeout: FUZZ_TIMEOUT_MS }, () => {
  fuzz(
    fc.property(path, (text) => {
      const url = new URL("https://h.example/");
      url.pathname = text;
      const anchor = anchorFromUrl(url);
      if (anchor === undefined) return;
      expect(url.pathname.replaceAll("/", "").toLowerCase()).toContain(
        anchor.replace("sha256:", ""),
      );
    }),
  );
});
