import { join } from "node:path";
import { findPrograms } from "@lacewing/local/programs.mjs";
import { z } from "zod";
import { forkService, type ServiceProcess, untilReady } from "./service-process.ts";

/** A peer in a process of its own; killed with its scope. */
export interface PeerProcess extends ServiceProcess {
  readonly proxyUrl: string;
  /** host:port */
  readonly transferAddress: string;
  readonly apiSocket: string;
}

const readyMessage = z.object({ addresses: z.object({ proxy: z.string(), transfer: z.string() }) });

/** Starts a peer without a scheduler on free ports, and waits until it is ready. */
export async function startPeerProcess(settings: {
  readonly hostId: string;
  readonly dataDir: string;
  readonly secretFile: string;
  readonly env?: Readonly<Record<string, string>>;
}): Promise<PeerProcess> {
  const apiSocket = join(settings.dataDir, "api.sock");
  const service = forkService(findPrograms().entryOf("peer"), {
    // Nobody listens there.
    LACEWING_NATS_URL: "nats://127.0.0.1:1",
    LACEWING_CLUSTER_SECRET_FILE: settings.secretFile,
    LACEWING_PEER_HOST_ID: settings.hostId,
    LACEWING_PEER_DATA_DIR: settings.dataDir,
    LACEWING_PEER_PROXY_ADDRESS: "127.0.0.1:0",
    LACEWING_PEER_API_SOCKET: apiSocket,
    ...settings.env,
  });
  const { addresses } = readyMessage.parse(await untilReady(service));
  return {
    ...service,
    proxyUrl: `http://${addresses.proxy}`,
    transferAddress: addresses.transfer,
    apiSocket,
  };
}
