import { queryParamsOf, type QueryParam, type UrlParts } from "./url-parts.ts";

/**
 * Query parameters that say who may read and until when, never what is read: they differ between two downloads of the same
 * bytes. Always removed, and extended by rules. Names are compared without case, because stores and their SDKs differ.
 *
 * Not filtered on purpose: parameters that change the bytes (`versionId`, `partNumber`, `x-oss-process`, `x-image-process`).
 */
const FILTERED: ReadonlySet<string> = new Set(
  [
    // Alibaba OSS, V4 signatures.
    "x-oss-signature-version x-oss-signature x-oss-credential x-oss-date x-oss-expires",
    "x-oss-security-token x-oss-additional-headers",
    // Huawei OBS.
    "x-obs-date x-obs-security-token",
    // Tencent COS.
    "q-sign-algorithm q-ak q-sign-time q-key-time q-header-list q-url-param-list q-signature",
    "x-cos-security-token",
  ].flatMap((names) => names.split(" ")),
);

/** S3 presigned URLs (SigV4) and Google Cloud Storage V4 signatures. */
const FILTERED_PREFIXES = ["x-amz-", "x-goog-"] as const;

/**
 * Names that mean other things elsewhere (`token`, `expires`, `sp`): there they may well tell contents apart that have equal
 * validators. So they are filtered only in the company that they keep in a signature.
 */
const FILTERED_TOGETHER: readonly {
  /** All of them are there: then it is this signature. */
  readonly marks: readonly string[];
  readonly also: readonly string[];
}[] = [
  // S3 V2.
  { marks: ["awsaccesskeyid", "signature"], also: ["expires"] },
  // Google Cloud Storage V2.
  { marks: ["googleaccessid", "signature"], also: ["expires"] },
  // Alibaba OSS V1.
  { marks: ["ossaccesskeyid", "signature"], also: ["expires", "security-token", "securitytoken"] },
  // Huawei OBS.
  { marks: ["accesskeyid", "signature"], also: ["expires"] },
  // CloudFront, also in front of model hubs.
  { marks: ["key-pair-id", "signature"], also: ["expires", "policy"] },
  // GitHub LFS.
  { marks: ["actor_id", "repo_id"], also: ["key_id", "token"] },
  // Azure SAS.
  {
    marks: ["sv", "sig"],
    also: "ss srt sp se st spr sr si sip skoid sktid skt ske sks skv sdd ses saoid suoid scid".split(
      " ",
    ),
  },
  // The operation's name, which S3 SDKs add.
  { marks: ["x-id", "x-amz-signature"], also: [] },
];

/** containerd tells a mirror by `ns` the registry it stands for. */
const REGISTRY_PATH = /^\/v2\//;

/**
 * The parameters that name the content, in the order they were written.
 *
 * @param alsoFiltered names that the rule adds.
 */
export function identifyingParams(
  url: UrlParts,
  alsoFiltered: readonly string[],
): readonly QueryParam[] {
  if (url.search === "") return NO_PARAMS;
  const params = queryParamsOf(url);
  // Signed URLs come by the thousand, and most consist of what is always removed.
  const left = params.filter(({ name }) => !isAlwaysFiltered(name.toLowerCase()));
  if (left.length === 0) return left;
  const names = new Set(params.map((param) => param.name.toLowerCase()));
  const added = new Set(alsoFiltered.map((name) => name.toLowerCase()));
  for (const { marks, also } of FILTERED_TOGETHER) {
    if (!marks.every((mark) => names.has(mark))) continue;
    for (const name of marks) added.add(name);
    for (const name of also) added.add(name);
  }
  if (REGISTRY_PATH.test(url.pathname)) added.add("ns");
  return left.filter(({ name }) => !added.has(name.toLowerCase()));
}

const NO_PARAMS: readonly QueryParam[] = [];

/** Empty, or `?` and the parameters sorted by name; equal names keep their order. */
export function canonicalQuery(params: readonly QueryParam[]): string {
  if (params.length === 0) return "";
  const texts = params
    .toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((param) => param.text);
  return `?${texts.join("&")}`;
}

function isAlwaysFiltered(lowerName: string): boolean {
  if (FILTERED.has(lowerName)) return true;
  for (const prefix of FILTERED_PREFIXES) if (lowerName.startsWith(prefix)) return true;
  return false;
}
