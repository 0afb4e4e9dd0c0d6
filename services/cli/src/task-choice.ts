import type { TaskStat } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { CliError } from "./cli-error.ts";
import type { PeerClient } from "./peer-client.ts";
import { matchDigits } from "./task-lines.ts";

/** How people name a task. */
export const TASK_ARGUMENT = "first digits of the task id or of the content's digest, or the URL";

/** The one task on a host that `text` names. @throws {CliError} when there is none, or more than one. */
export async function findTask(client: PeerClient, text: string): Promise<TaskStat> {
  if (text.includes("://")) return client.stat({ url: text });
  const hex = text.replace(/^sha256:/i, "").toLowerCase();
  if (!/^[0-9a-f]{4,64}$/.test(hex))
    throw new CliError(
      `"${text}" is no task`,
      "Give 4 to 64 hex digits of a task id (see `lacewing ls`) or of the content's digest, or a URL.",
    );
  return matchDigits((await client.list()).tasks, hex);
}
