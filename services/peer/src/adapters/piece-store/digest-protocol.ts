/** What the main thread asks of a digest worker. Bytes from `start` up to, not including, `end`. */
export type DigestQuestion =
  | {
      readonly kind: "span";
      readonly jobId: number;
      readonly fd: number;
      readonly start: number;
      readonly end: number;
      /** The content whose running hash the span extends, if that stands at `start` and the digest is as expected. */
      readonly streamId: number | undefined;
      readonly expected: Uint8Array | undefined;
    }
  /** The running hash as the digest of the whole, if it stands at `end`. */
  | {
      readonly kind: "finish";
      readonly jobId: number;
      readonly streamId: number;
      readonly end: number;
    }
  /** Gives a running hash up; is not answered. */
  | { readonly kind: "forget"; readonly streamId: number };

export type DigestAnswer =
  | {
      readonly jobId: number;
      /** `undefined`: a `finish` whose running hash does not stand at the end. */
      readonly sha256: Uint8Array | undefined;
      readonly hasExtended: boolean;
    }
  | { readonly jobId: number; readonly failure: string };
