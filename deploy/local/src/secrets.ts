import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readJson, writePrivateFile, writePrivateJson } from "./files.ts";

const secretsSchema = z.object({
  natsPassword: z.string(),
  postgresAdminPassword: z.string(),
  postgresPassword: z.string(),
});

/** Passwords of the embedded servers: made once per data dir, hexadecimal, so that they fit in a URL as they are. */
export type Secrets = z.infer<typeof secretsSchema>;

/** 192 bits. */
const PASSWORD_BYTES = 24;
/** The cluster secret signs lease tokens and host-to-host requests: 256 bits. */
const CLUSTER_SECRET_BYTES = 32;

/** Reads the passwords, or makes them on the first start. */
export function ensureSecrets(dataDir: string): Secrets {
  const path = join(dataDir, "secrets.json");
  const known = readJson(path, secretsSchema);
  if (known !== undefined) return known;
  const password = () => randomBytes(PASSWORD_BYTES).toString("hex");
  const secrets: Secrets = {
    natsPassword: password(),
    postgresAdminPassword: password(),
    postgresPassword: password(),
  };
  writePrivateJson(path, secrets);
  return secrets;
}

/** The file with the secret that all services of the cluster share, made on the first start. */
export function ensureClusterSecret(dataDir: string): string {
  const path = join(dataDir, "cluster-secret");
  if (!existsSync(path)) writePrivateFile(path, randomBytes(CLUSTER_SECRET_BYTES).toString("hex"));
  return path;
}
