import { messageOf } from "@lacewing/runtime/errors.ts";
import { originCallSchema, type OriginCall, type OriginMessage } from "./lfs-origin-control.ts";
import { startLfsOrigin, type LfsOrigin } from "./lfs-origin.ts";

/**
 * An origin in a process of its own, so that what it costs is not taken from whatever is measured. Lives as long as
 * the IPC channel of the process that started it.
 */
const send = (message: OriginMessage) => process.send?.(message);
const [rate, urlExpiresSeconds, distanceMs] = process.argv.slice(2);
const origin = await startLfsOrigin({
  rateBytesPerSecond: numberOf(rate),
  urlExpiresSeconds: numberOf(urlExpiresSeconds),
  distanceMs: numberOf(distanceMs),
});
// Ctrl-C on a terminal reaches every process of the group; the one that started us closes the channel when it is done.
process.on("SIGINT", () => {});
process.once("disconnect", () => process.exit(0));
process.on("message", (message) => {
  void answer(message);
});
send({ type: "ready", port: origin.port });

async function answer(message: unknown): Promise<void> {
  const { id, call } = originCallSchema.parse(message);
  try {
    send({ type: "answer", id, value: await perform(origin, call) });
  } catch (error) {
    send({ type: "failure", id, message: messageOf(error) });
  }
}

async function perform(target: LfsOrigin, call: OriginCall): Promise<unknown> {
  switch (call.method) {
    case "add_object":
      return target.addObject(call.content, call.oid);
    case "put_file":
      return target.putFile(call.name, call.content, call.headers);
    case "set_faults":
      return target.setFaults(call.key, call.faults);
    case "set_rate":
      return target.setRate(call.bytesPerSecond);
    case "stats":
      return target.stats();
    case "reset_stats":
      return target.resetStats();
  }
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || text === "" ? undefined : Number(text);
}
