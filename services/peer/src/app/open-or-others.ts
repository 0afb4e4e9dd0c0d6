import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { DownloadServices } from "./download-services.ts";
import { isUnable } from "./download-target.ts";
import { retryAfterOf } from "./origin-access.ts";
import type { OriginResponse, StoredTask } from "./ports.ts";
import type { TaskRegistry } from "./task-registry.ts";

/**
 * The origin's opening answer; when there is none, or none of use, what others bring after all: the scheduler's first word may have
 * been to wait, or room would have had to be made for it.
 *
 * @param how `mayTakeOthers`: others bring the content, and this client may have it unasked.
 */
export async function openOrOthers(
  open: () => Promise<OriginResponse>,
  { registry, link }: { readonly registry: TaskRegistry } & Pick<DownloadServices, "link">,
  how: {
    readonly asked: TaskRequested;
    readonly taskId: TaskId;
    readonly mayTakeOthers: () => boolean;
    readonly signal: AbortSignal;
  },
): Promise<OriginResponse | StoredTask> {
  const { asked, taskId, mayTakeOthers, signal } = how;
  let response: OriginResponse;
  try {
    response = await open();
  } catch (error) {
    const isOver = signal.aborted || !mayTakeOthers();
    const late = isOver ? undefined : await registry.arrivingLate(asked, signal);
    if (late === undefined) throw error;
    return late;
  }
  if (!isUnable(response) || !mayTakeOthers()) return response;
  const others = await registry
    .arriving(asked, taskId, () => "make")
    .catch((error: unknown) => {
      // Unread it would keep its connection.
      response.discard();
      throw error;
    });
  if (others === undefined) return response;
  response.discard();
  const restMs = retryAfterOf(response);
  if (restMs > 0) link.originRests(taskId, `the origin said ${response.status}`, restMs);
  return others;
}
