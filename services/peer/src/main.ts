import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { type HostId, parseHostId } from "@lacewing/contracts/ids.ts";
import { createLog } from "@lacewing/observability/log.ts";
import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import { EXIT_CODE, type RunningService, runService } from "@lacewing/runtime/lifecycle.ts";
import { readSettings, SettingsError } from "@lacewing/runtime/settings.ts";
import { composePeer } from "./compose.ts";
import { SETTINGS } from "./config.ts";
import { loadPeerFileSettings } from "./rules-config.ts";

if (process.argv[2] === "--check-settings") checkSettingsFile();
else await runService(start);

/** For whoever starts a peer and wants to know beforehand whether its settings file is right. */
function checkSettingsFile(): void {
  try {
    loadPeerFileSettings(process.env["LACEWING_CONFIG"]);
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = EXIT_CODE.wrongSettings;
  }
}

async function start(): Promise<RunningService> {
  const settings = readSettings(SETTINGS, process.env);
  const file = loadPeerFileSettings(settings.LACEWING_CONFIG);
  const hostId = hostIdOf(settings.LACEWING_PEER_HOST_ID);
  const log = createLog({
    service: SERVICE.peer,
    level: settings.LACEWING_LOG_LEVEL,
    hostId,
    file: join(settings.LACEWING_PEER_DATA_DIR, "logs", "core.log"),
  });
  const tracing = startTracing({
    service: SERVICE.peer,
    instanceId: hostId,
    endpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT,
    sampleRatio: settings.LACEWING_TRACE_RATIO,
    log,
  });
  const peer = await composePeer({
    settings,
    file,
    hostId,
    log,
    clock: systemClock,
    random: Math.random,
    newId: randomUUID,
  });
  log.info("peer started", { ...peer.addresses, kind: settings.LACEWING_PEER_KIND });
  return {
    addresses: peer.addresses,
    stop: async () => {
      await peer.stop();
      await tracing.shutdown();
      log.info("peer stopped");
      log.close();
    },
  };
}

function hostIdOf(text: string): HostId {
  const hostId = parseHostId(text);
  if (hostId === undefined)
    throw new InvariantViolation("the settings accepted a malformed host id");
  return hostId;
}
