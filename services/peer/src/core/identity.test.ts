import { describe, expect, test } from "vitest";
import { CONTENT_LENGTH_BYTES_MAX } from "@lacewing/contracts/piece-length.ts";
import type { HeaderList } from "./http-headers.ts";
import {
  anchorFromHeaders,
  anchorFromUrl,
  canonicalUrl,
  contentLengthOf,
  sharingDomainOf,
  strongValidatorOf,
  taskKey,
  urlWithoutSecrets,
  whyNotShareable,
} from "./identity.ts";
import { ruleOf } from "./rules.ts";

const RULE = ruleOf({ regex: "." });
const OID = `abcd${"0123456789".repeat(6)}`;
const canonical = (url: string, rule = RULE) => canonicalUrl(new URL(url), rule);

describe("the canonical URL", () => {
  test.each([
    ["S3", "X-Amz-Algorithm=A&X-Amz-Credential=B&X-Amz-Date=C&X-Amz-Expires=1&X-Amz-Signature=D"],
    ["Google", "X-Goog-Algorithm=A&X-Goog-Signature=B&GoogleAccessId=C&Expires=1&Signature=D"],
    ["OSS", "OSSAccessKeyId=A&Expires=1&Signature=B&security-token=C"],
    ["OSS V4", "x-oss-signature-version=OSS4&x-oss-credential=A&x-oss-signature=B"],
    ["OBS", "AccessKeyId=A&Expires=1&Signature=B&X-Obs-Security-Token=C"],
    ["COS", "q-sign-algorithm=sha1&q-ak=A&q-sign-time=B&q-key-time=C&q-signature=D"],
    ["Azure", "sv=2023&sr=b&sp=r&st=A&se=B&spr=https&skoid=C&sig=D"],
    ["CloudFront", "Expires=1&Signature=A&Key-Pair-Id=B&Policy=C"],
    ["GitHub LFS", "actor_id=1&key_id=2&repo_id=3&token=4"],
    ["S3 V2", "AWSAccessKeyId=A&Expires=1&Signature=B&x-amz-security-token=C"],
    ["S3 with GitHub LFS", "X-Amz-Signature=A&actor_id=1&key_id=0&repo_id=3&x-id=GetObject"],
  ])("is without the parameters of a %s signature", (_store, query) => {
    expect(canonical(`https://s.example/file?${query}`)).toBe("https://s.example/file");
  });

  test("is without the registry that containerd names, on the paths of registries only", () => {
    const blob = `https://r.example/v2/a/blobs/sha256:${OID}`;
    expect(canonical(`${blob}?ns=docker.io`)).toBe(blob);
    expect(canonical("https://s.example/file?ns=b")).toBe("https://s.example/file?ns=b");
  });

  test.each([
    "sp=2&sr=1",
    "token=alice",
    "expires=never",
    "policy=a&signature=b",
    "key_id=7",
    "x-id=1",
    "accesskeyid=1",
  ])("keeps %s: part of a signature elsewhere, and the name of content here", (query) => {
    expect(canonical(`https://s.example/file?${query}`)).toContain(
      query.split("&").toSorted().join("&"),
    );
  });

  test("keeps parameters that change the bytes", () => {
    const url = "https://s.example/f?versionId=7&x-oss-process=image%2Fresize&partNumber=2";
    expect(canonical(url)).toContain("versionId=7");
    expect(canonical(url)).toContain("x-oss-process=image%2Fresize");
    expect(canonical(url)).toContain("partNumber=2");
  });

  test("is the same whatever the order of parameters, but keeps the order of equal names", () => {
    expect(canonical("https://s.example/f?b=2&a=1&b=1")).toBe("https://s.example/f?a=1&b=2&b=1");
  });

  test("drops user info, fragment and default port, and lowers scheme and host only", () => {
    expect(canonical("HTTPS://me:pw@S.Example:443/Path?Q=V#part")).toBe(
      "https://s.example/Path?Q=V",
    );
    expect(canonical("https://s.example:8443/")).toBe("https://s.example:8443/");
  });

  test("is also without the rule's own parameters, in any case and encoding", () => {
    const rule = ruleOf({ regex: ".", filteredQueryParams: ["Session-Id"] });
    expect(canonical("https://s.example/f?session%2Did=1&a=1", rule)).toBe(
      "https://s.example/f?a=1",
    );
  });
});

test("a URL for logs shows no query and no user info", () => {
  const url = new URL("https://me:pw@s.example/f?token=1&access_token=2&api_key=3&version=4#x");
  expect(urlWithoutSecrets(url)).toBe("https://s.example/f");
  expect(urlWithoutSecrets(new URL("https://s.example/f?Signature=1"))).toBe("https://s.example/f");
});

test("copies are shared within the origin's authority unless the rule names a domain", () => {
  expect(sharingDomainOf(new URL("https://S.example/f"), RULE)).toBe("s.example");
  expect(sharingDomainOf(new URL("https://s.example:8080/f"), RULE)).toBe("s.example:8080");
  const shared = ruleOf({ regex: ".", share: "mirrors" });
  expect(sharingDomainOf(new URL("https://s.example/f"), shared)).toBe("mirrors");
});

test("what is asked in the open is another domain than what TLS proves to be the origin's own", () => {
  const domain = (url: string, useTls: boolean | "auto" = "auto") =>
    sharingDomainOf(new URL(url), ruleOf({ regex: ".", useTls }));
  expect(domain("http://s.example:8080/f")).toBe("http://s.example:8080");
  expect(domain("http://s.example:443/f")).toBe("http://s.example:443");
  expect(domain("http://s.example/f", false)).toBe("http://s.example");
  // A client points at http for its proxy to see the request; the origin is asked by TLS.
  expect(domain("http://s.example/f")).toBe("s.example");
  expect(domain("http://s.example:8443/f", true)).toBe(domain("https://s.example:8443/f"));
  expect(domain("https://s.example/f", false)).toBe("s.example");
});

describe("the anchor that a URL names", () => {
  test.each([
    `https://github-cloud.githubusercontent.com/alambic/media/1/ab/cd/${OID}?token=x`,
    `http://127.0.0.1:9000/storage/ab/cd/${OID}`,
    `https://git.example/org/repo/info/lfs/objects/${OID}`,
    `https://cdn-lfs.huggingface.co/repos/12/34/56/${OID}`,
    `https://git.example/lfs/ab/cd/${OID.slice(4)}`,
    `https://registry.example/v2/library/debian/blobs/sha256:${OID}`,
    `https://registry.example/v2/library/debian/blobs/sha256%3A${OID}`,
    `https://cdn.example/registry/v2/blobs/sha256/ab/${OID}/data`,
  ])("is found in %s", (url) => {
    expect(anchorFromUrl(new URL(url))).toBe(`sha256:${OID}`);
  });

  test.each([
    // Named by some other hash: taking it for SHA-256 would break every download.
    `https://chunks.example/bucket/${OID}`,
    `https://registry.example/v2/library/debian/manifests/sha256:${OID}`,
    "https://git.example/lfs/objects/1234",
    `https://selfsame.example/${OID}`,
  ])("is not guessed from %s", (url) => {
    expect(anchorFromUrl(new URL(url))).toBeUndefined();
  });
});

describe("the anchor that an answer names", () => {
  const url = new URL("https://huggingface.co/org/model/resolve/main/weights");
  const from = (headers: HeaderList, at = url, isElsewhere = false) =>
    anchorFromHeaders(at, { headers, isElsewhere });

  test("is the SHA-256 among the digests of the representation", () => {
    // SHA-256 of nothing.
    const hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const field = "sha-512=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    expect(from([["Repr-Digest", field]])).toBe(`sha256:${hex}`);
    expect(
      from([
        ["Repr-Digest", field],
        ["Content-Encoding", "gzip"],
      ]),
    ).toBeUndefined();
  });

  test("is the linked ETag of a hub file, on any host, when it has the form of a SHA-256", () => {
    const elsewhere = new URL("http://hub.localhost/org/model/resolve/main/weights");
    expect(from([["X-Linked-Etag", `"${OID}"`]], elsewhere)).toBe(`sha256:${OID}`);
    expect(from([["X-Linked-Etag", '"abc"']])).toBeUndefined();
  });

  test("is an ETag of 64 hex digits from a hub only", () => {
    expect(from([["ETag", `"${OID}"`]])).toBe(`sha256:${OID}`);
    expect(from([["ETag", `"${OID}"`]], new URL("https://s.example/f"))).toBeUndefined();
    expect(
      from([
        ["ETag", `"${OID}"`],
        ["X-Xet-Hash", OID],
      ]),
    ).toBeUndefined();
  });

  test("is not a hub's ETag when another server sent it", () => {
    const hub = new URL("https://huggingface.co/o/m/resolve/main/f");
    expect(from([["ETag", `"${OID}"`]], hub)).toBe(`sha256:${OID}`);
    expect(from([["ETag", `"${OID}"`]], hub, true)).toBeUndefined();
  });

  test("is the content digest of a registry's blob, not of a manifest", () => {
    const headers: HeaderList = [["Docker-Content-Digest", `sha256:${OID}`]];
    expect(from(headers, new URL("https://r.example/v2/a/blobs/sha256:x"))).toBe(`sha256:${OID}`);
    expect(from(headers, new URL("https://r.example/v2/a/manifests/latest"))).toBeUndefined();
  });
});

test.each([
  ['"abc"', '"abc"'],
  ['W/"abc"', undefined],
  ["abc", undefined],
  ['""', undefined],
])("the strong validator of an answer with ETag %s is %s", (etag, expected) => {
  expect(strongValidatorOf([["ETag", etag]])).toBe(expected);
});

test("content is known by its anchor, else by URL and strong validator, else not at all", () => {
  const canonicalUrlText = "https://s.example/f";
  const key = (strongValidator: string | undefined) =>
    taskKey({ anchor: undefined, canonicalUrl: canonicalUrlText, strongValidator });
  expect(key('"v1"')).toEqual(["url", canonicalUrlText, '"v1"']);
  expect(key(undefined)).toBeUndefined();
  const anchor = anchorFromUrl(new URL(`https://s.example/lfs/objects/${OID}`));
  expect(taskKey({ anchor, canonicalUrl: canonicalUrlText, strongValidator: '"v1"' })).toEqual([
    "anchor",
    `sha256:${OID}`,
  ]);
});

describe("an answer", () => {
  const base: HeaderList = [
    ["Content-Length", "10"],
    ["ETag", '"v"'],
  ];
  const why = (extra: HeaderList, isAnchored = false, status = 200) =>
    whyNotShareable({ status, headers: [...extra, ...base] }, isAnchored);

  test("may be shared when it is plain content of known length and identity", () => {
    expect(why([])).toBeUndefined();
    expect(why([["Vary", "Accept-Encoding, Origin"]])).toBeUndefined();
    expect(why([["Cache-Control", "max-age=0, must-revalidate"]])).toBeUndefined();
  });

  test("is never shared when it is an error, encoded, or not to be stored, anchored or not", () => {
    for (const isAnchored of [true, false]) {
      expect(why([], isAnchored, 404)).toBe("status_not_content");
      expect(why([["Content-Encoding", "gzip"]], isAnchored)).toBe("content_encoded");
      expect(why([["Cache-Control", "private, No-Store"]], isAnchored)).toBe("no_store");
    }
  });

  test("that depends on who asks is shared only when its digest is known from outside", () => {
    const perClient: readonly (readonly [HeaderList, string])[] = [
      [[["Cache-Control", "private"]], "private"],
      [[["Cache-Control", 'private="set-cookie"']], "private"],
      [[["Set-Cookie", "a=b"]], "sets_cookie"],
      [[["Vary", "Authorization"]], "varies"],
      [[["Vary", "*"]], "varies"],
    ];
    for (const [headers, reason] of perClient) {
      expect(why(headers)).toBe(reason);
      expect(why(headers, true)).toBeUndefined();
    }
  });

  test("without a strong validator or anchor cannot be told from another", () => {
    const weak: HeaderList = [
      ["Content-Length", "10"],
      ["ETag", 'W/"v"'],
    ];
    expect(whyNotShareable({ status: 200, headers: weak }, false)).toBe("no_identity");
    expect(whyNotShareable({ status: 200, headers: weak }, true)).toBeUndefined();
  });

  test("of unknown or immense length is passed through", () => {
    expect(whyNotShareable({ status: 200, headers: [] }, true)).toBe("length_unknown");
    const long: HeaderList = [["Content-Length", String(CONTENT_LENGTH_BYTES_MAX + 1)]];
    expect(whyNotShareable({ status: 200, headers: long }, true)).toBe("too_long");
  });
});

test("the length of the whole content stands in Content-Range of a partial answer", () => {
  const partial: HeaderList = [
    ["Content-Length", "1"],
    ["Content-Range", "bytes 0-0/1234"],
  ];
  expect(contentLengthOf({ status: 206, headers: partial })).toBe(1234);
  expect(contentLengthOf({ status: 200, headers: partial })).toBe(1);
  expect(
    contentLengthOf({ status: 206, headers: [["Content-Range", "bytes 0-0/*"]] }),
  ).toBeUndefined();
});
