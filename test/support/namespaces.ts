import { runProcess, runProcessOrThrow } from "./processes.ts";

/** A machine of its own as far as the network goes: one link to a switch, shaped in both directions. */
export interface NetworkHost {
  readonly address: string;
  /** Put before a command, to run it there. */
  readonly prefix: readonly string[];
}

/** Hosts on one switch, to which this machine is connected without a limit. Everything goes away with its scope. */
export interface ShapedNetwork {
  readonly hosts: readonly NetworkHost[];
  /** This machine, as the hosts reach it. */
  readonly ownAddress: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Addresses for benchmarks of networks (RFC 2544): nobody else's. */
const NETWORK = "198.18.77";
const BRIDGE = "lwbench0";
/** What a link may send at once, and how long a packet may wait for its turn. */
const TBF = ["burst", "128kb", "latency", "50ms"];

/** Why namespaces and shaped links cannot be had here; `undefined` when they can. */
export async function networkRefusal(): Promise<string | undefined> {
  const name = `lwtry${process.pid}`;
  try {
    const { exitCode, stderr } = await runProcess({ command: "ip", args: ["netns", "add", name] });
    if (exitCode !== 0) return `ip netns add: ${stderr.trim()}`;
    const tc = ["netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "tbf"];
    const shaped = await runProcess({ command: "ip", args: [...tc, "rate", "1mbit", ...TBF] });
    await runProcess({ command: "ip", args: ["netns", "del", name] });
    return shaped.exitCode === 0 ? undefined : `tc qdisc add: ${shaped.stderr.trim()}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** @throws when one of the commands fails, e.g. because another run has not cleaned up. */
export async function makeShapedNetwork(
  hostCount: number,
  bitsPerSecond: number,
): Promise<ShapedNetwork> {
  const names = Array.from({ length: hostCount }, (_, index) => `lw${process.pid}-${index + 1}`);
  const dispose = async () => {
    for (const name of names) await runProcess({ command: "ip", args: ["netns", "del", name] });
    await runProcess({ command: "ip", args: ["link", "del", BRIDGE] });
  };
  const ip = async (...args: readonly string[]) => runProcessOrThrow({ command: "ip", args });
  const rate = ["root", "tbf", "rate", `${bitsPerSecond}bit`, ...TBF];
  try {
    await ip("link", "add", BRIDGE, "type", "bridge");
    await ip("addr", "add", `${NETWORK}.254/24`, "dev", BRIDGE);
    await ip("link", "set", BRIDGE, "up");
    for (const [index, name] of names.entries()) {
      const port = `lwport${index + 1}`;
      await ip("netns", "add", name);
      await ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name);
      await ip("link", "set", port, "master", BRIDGE, "up");
      await ip("-n", name, "addr", "add", `${NETWORK}.${index + 1}/24`, "dev", "eth0");
      await ip("-n", name, "link", "set", "eth0", "up");
      await ip("-n", name, "link", "set", "lo", "up");
      // Towards the host at the switch, away from it at the host.
      await runProcessOrThrow({ command: "tc", args: ["qdisc", "add", "dev", port, ...rate] });
      await ip("netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", ...rate);
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    hosts: names.map((name, index) => ({
      address: `${NETWORK}.${index + 1}`,
      prefix: ["ip", "netns", "exec", name],
    })),
    ownAddress: `${NETWORK}.254`,
    [Symbol.asyncDispose]: dispose,
  };
}
