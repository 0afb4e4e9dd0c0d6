import { setFlagsFromString } from "node:v8";

export const OPTIMIZE_FLAG = "--invocation-count-for-turbofan";
/**
 * Calls of a function before V8's last compiler, which costs the most, takes it up; by itself V8 waits for 3000. A small file goes through
 * hundreds of functions, and pulls of the first thousands of them had all of those compiled while clients waited: a tenth of all CPU
 * time, never won back. Long loops are compiled as early as ever; with 10,000 calls little was won, with 300,000 no more.
 */
const OPTIMIZE_CALL_COUNT = 30_000;

/** To be called before anything is called often. A Node that does not know the flag says so on stderr and goes on. */
export function compileLate(): void {
  setFlagsFromString(`${OPTIMIZE_FLAG}=${OPTIMIZE_CALL_COUNT}`);
}
