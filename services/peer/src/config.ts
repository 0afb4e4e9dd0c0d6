import { LOG_LEVELS } from "@lacewing/observability/log.ts";
import {
  byteRate,
  byteSize,
  count,
  durationMs,
  socketAddress,
} from "@lacewing/runtime/settings.ts";
import { z } from "zod";

/** A host that is slower is no help to others: leases end, and what was fetched of a piece by then is fetched again. */
const BYTES_PER_SECOND_MIN = 2 ** 20;

const rate = byteRate(BYTES_PER_SECOND_MIN);

/** A whole number of percent. */
const percent = (fallback: number) =>
  count(fallback, 1).refine((value) => value <= 100, "more than 100 percent");

/** Settings of the peer service, read from the environment. What clients' requests mean is in the settings file. */
export const SETTINGS = z.object({
  LACEWING_NATS_URL: z
    .string()
    .default("nats://127.0.0.1:4222")
    .describe(
      "NATS servers, `nats://user:password@host:port`, joined by commas. The peer also works while none answers.",
    ),
  LACEWING_CLUSTER_SECRET_FILE: z
    .string()
    .describe(
      "File with the cluster's secret: hosts and scheduler prove to each other with it that they belong together.",
    ),
  LACEWING_PEER_HOST_ID: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, "1 to 64 letters, digits, - and _")
    .describe("Stable name of this host, unique in the cluster."),
  LACEWING_PEER_KIND: z
    .enum(["normal", "seed"])
    .default("normal")
    .describe(
      "A `seed` host takes a copy of every task, so that content outlives the host that asked for it.",
    ),
  LACEWING_PEER_DATA_DIR: z
    .string()
    .describe("Folder for content, journals and logs. Nobody else may use it."),
  LACEWING_PEER_PROXY_ADDRESS: socketAddress("127.0.0.1:65001").describe(
    "Where clients reach the proxy, host:port.",
  ),
  LACEWING_PEER_TRANSFER_ADDRESS: socketAddress("127.0.0.1:0").describe(
    "Where other hosts read pieces, host:port. Port 0 takes a free one.",
  ),
  LACEWING_PEER_ADVERTISED_ADDRESS: z
    .string()
    .optional()
    .describe(
      "host:port of the piece server as other hosts reach it, when it differs from the address it listens on.",
    ),
  LACEWING_PEER_API_SOCKET: z
    .string()
    .optional()
    .describe(
      "Path of the unix socket for the command line, at most 107 bytes. Default: `api.sock` in the data folder.",
    ),
  LACEWING_PEER_IDC: z
    .string()
    .default("")
    .describe("Name of the data centre; copies are fetched within it when possible."),
  LACEWING_PEER_LOCATION: z.string().default("").describe("`region|rack|…`, most general first."),
  LACEWING_PEER_UPLOAD_SLOTS: count(16, 1).describe(
    "Transfers served to other hosts at once; more are told to come again. Fewer when the upload limit is less than 512 KiB/s for each.",
  ),
  LACEWING_PEER_UPLOAD_BYTES_PER_SECOND: rate.describe(
    "Content sent to other hosts, in all, e.g. 100MB; at least 1MiB. 0: as fast as it goes.",
  ),
  LACEWING_PEER_DOWNLOAD_BYTES_PER_SECOND: rate.describe(
    "Content read from other hosts, in all; as above.",
  ),
  LACEWING_PEER_BACK_TO_SOURCE_BYTES_PER_SECOND: rate.describe(
    "Content read from origins for downloads, in all; as above. What no rule wants is limited by the client's pace only.",
  ),
  LACEWING_PEER_CLIENT_BYTES_PER_SECOND: rate.describe(
    "Sent to one client address, tunnels included; as above.",
  ),
  LACEWING_PEER_QUOTA: byteSize(undefined).describe(
    "Bytes of content kept at most, e.g. 200GiB. Default: 20 GiB or 20 % of the disk, whichever is less.",
  ),
  LACEWING_PEER_HIGH_WATERMARK_PERCENT: percent(100).describe(
    "Share of the quota above which what was not used for longest is evicted, in percent.",
  ),
  LACEWING_PEER_LOW_WATERMARK_PERCENT: percent(95).describe(
    "Down to this share of the quota, in percent; at most the high one. Lower: fewer, larger evictions.",
  ),
  LACEWING_PEER_UNUSED_TTL_MS: durationMs(0).describe(
    "Milliseconds after its last use at which content is evicted although there is room. 0: never.",
  ),
  LACEWING_PEER_SCRUB_RATE: byteSize(4 * 2 ** 20).describe(
    "Stored bytes hashed again per second when nobody asks for them, so that damage is found. 4MiB cost a quarter of a percent of a core. 0: never.",
  ),
  LACEWING_PEER_HASH_WORKERS: count(1, 1).describe("Threads that hash content."),
  LACEWING_CONFIG: z
    .string()
    .optional()
    .describe("YAML file with the proxy's rules (see the settings file below)."),
  LACEWING_LOG_LEVEL: z.enum(LOG_LEVELS).default("info").describe("Least level that is logged."),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .string()
    .optional()
    .describe(
      "Where traces go, as OTLP over HTTP: a base URL such as http://127.0.0.1:4318. Without it they go nowhere.",
    ),
  LACEWING_TRACE_RATIO: z.coerce
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe(
      "Share of client requests that are traced, 0 to 1, unless the client's own traceparent decides.",
    ),
});

export type PeerSettings = z.infer<typeof SETTINGS>;
