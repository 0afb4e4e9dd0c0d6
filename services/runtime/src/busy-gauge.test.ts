import { describe, expect, test } from "vitest";
import { createBusyGauge, type LoopTimes } from "./busy-gauge.ts";

/** A process whose loop idles and works as the test says. */
function loop() {
  let [idle, active] = [0, 0];
  const times: LoopTimes = {
    monotonic: () => idle + active,
    utilization: (since) => {
      const [idleMs, activeMs] = [idle - (since?.idle ?? 0), active - (since?.active ?? 0)];
      const all = idleMs + activeMs;
      return { idle: idleMs, active: activeMs, utilization: all === 0 ? 0 : activeMs / all };
    },
  };
  const pass = (ms: { readonly idle: number; readonly active: number }): void => {
    idle += ms.idle;
    active += ms.active;
  };
  return { isBusy: createBusyGauge(times), pass };
}

describe("the gauge of the event loop", () => {
  test("tells of a process that has little time left, and of one that has again", () => {
    const { isBusy, pass } = loop();
    expect(isBusy()).toBe(false);
    pass({ idle: 10, active: 90 });
    expect(isBusy()).toBe(true);
    pass({ idle: 20, active: 80 });
    expect(isBusy()).toBe(false);
  });

  test("looks at no less than a tenth of a second", () => {
    const { isBusy, pass } = loop();
    pass({ idle: 0, active: 90 });
    expect(isBusy()).toBe(false);
    pass({ idle: 0, active: 20 });
    expect(isBusy()).toBe(true);
    pass({ idle: 90, active: 0 });
    expect(isBusy()).toBe(true);
  });
});

test("a process that only waits is not busy", async () => {
  const isBusy = createBusyGauge();
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(isBusy()).toBe(false);
});
