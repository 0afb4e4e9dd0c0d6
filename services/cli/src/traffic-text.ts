import type { Progress } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { percentOf } from "@lacewing/runtime/figures.ts";

export const NO_TRAFFIC: Progress = { localPeerBytes: 0, remotePeerBytes: 0, backToSourceBytes: 0 };

/** Where bytes came from, in percent of what came: `local 12 %, peers 88 %`. Empty while nothing came. */
export function trafficText(traffic: Progress): string {
  const parts = [
    ["local", traffic.localPeerBytes],
    ["peers", traffic.remotePeerBytes],
    ["origin", traffic.backToSourceBytes],
  ] as const;
  const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0);
  return parts
    .filter(([, bytes]) => bytes > 0)
    .map(([name, bytes]) => `${name} ${percentOf(bytes, total)} %`)
    .join(", ");
}
