import { queryParamsOf, type QueryParam, type UrlParts } from "./url-parts.ts";

/**
 * Query parameters that say who may read and until when, never what is read: they differ between two downloads of the same
 * bytes. Always removed, and extended by rules. Names are compared without case, because stores and their SDKs differ.
 *
 * Not filtered on purpose: parameters that change the bytes (`versionId`, `partNumber`, `x-oss-process`, `x-image-process`).
 */
const FILTERED: ReadonlySet<string> = new Set([
  // Google Cloud Storage, V2 signatures; S3 V2 signatures.
  "googleaccessid",
  "awsaccesskeyid",
  // The operation's name, which S3 SDKs add.
  "x-id",
  // Alibaba OSS, V1 and V4 signatures.
  "ossaccesskeyid",
  "expires",
  "signature",
  "securitytoken",
  "security-token",
  "x-oss-signature-version",
  "x-oss-signature",
  "x-oss-credential",
  "x-oss-date",
  "x-oss-expires",
  "x-oss-security-token",
  "x-oss-additional-headers",
  // Huawei OBS.
  "accesskeyid",
  "x-obs-date",
  "x-obs-security-token",
  // Tencent COS.
  "q-sign-algorithm",
  "q-ak",
  "q-sign-time",
  "q-key-time",
  "q-header-list",
  "q-url-param-list",
  "q-signature",
  "x-cos-security-token",
  // CloudFront, also in front of model hubs.
  "policy",
  "key-pair-id",
  // GitHub LFS.
  "actor_id",
  "key_id",
  "repo_id",
  "token",
  // containerd tells a mirror the registry it stands for.
  "ns",
]);

/** S3 presigned URLs (SigV4) and Google Cloud Storage V4 signatures. */
const FILTERED_PREFIXES = ["x-amz-", "x-goog-"] as const;

/**
 * Azure SAS. Its names are two or three letters long and mean other things elsewhere (`sp=2`), so they are filtered only
 * where a SAS is: every one has a version `sv` and a signature `sig`.
 */
const AZURE_SAS: ReadonlySet<string> = new Set(
  "sv ss srt sp se st spr sig sr si sip skoid sktid skt ske sks skv sdd ses saoid suoid scid".split(
    " ",
  ),
);

/**
 * The parameters that name the content, in the order they were written.
 *
 * @param alsoFiltered names that the rule adds.
 */
export function identifyingParams(
  url: UrlParts,
  alsoFiltered: readonly string[],
): readonly QueryParam[] {
  const params = queryParamsOf(url);
  const names = new Set(params.map((param) => param.name.toLowerCase()));
  const isSas = names.has("sv") && names.has("sig");
  const added = new Set(alsoFiltered.map((name) => name.toLowerCase()));
  return params.filter(({ name }) => {
    const lower = name.toLowerCase();
    return !(
      FILTERED.has(lower) ||
      FILTERED_PREFIXES.some((prefix) => lower.startsWith(prefix)) ||
      (isSas && AZURE_SAS.has(lower)) ||
      added.has(lower)
    );
  });
}
