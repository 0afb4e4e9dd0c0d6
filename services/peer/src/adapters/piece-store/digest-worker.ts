import { parentPort } from "node:worker_threads";
import { nodeDisk } from "../disk/node-disk.ts";
import type { DigestQuestion } from "./digest-protocol.ts";
import { DigestSpans } from "./digest-spans.ts";

/**
 * Hashes spans of open files. Descriptors are the process's, so the main thread passes numbers, and keeps the file open
 * until the answer is there.
 */

const spans = new DigestSpans(nodeDisk);

if (parentPort === null) throw new Error("digest-worker is not the program of a process");
const port = parentPort;
port.on("message", (question: DigestQuestion) => {
  const answer = spans.answerTo(question);
  if (answer !== undefined) port.postMessage(answer);
});
