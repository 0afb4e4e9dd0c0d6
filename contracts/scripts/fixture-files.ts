import { AssignmentMessage } from "../src/gen/lacewing/assignments/v1/assignments.ts";
import { DecisionMessage } from "../src/gen/lacewing/decisions/v1/decisions.ts";
import { EventMessage } from "../src/gen/lacewing/events/v1/events.ts";

/** Where the golden encodings are. */
export const FIXTURES_DIR = new URL("../fixtures/", import.meta.url);

/** How each folder of fixtures is decoded, and the proto whose `oneof kind` of `message` lists its kinds. */
export const FORMATS = {
  "events-v1": { codec: EventMessage, proto: "events/v1/events.proto", message: "Event" },
  "decisions-v1": {
    codec: DecisionMessage,
    proto: "decisions/v1/decisions.proto",
    message: "Decision",
  },
  "assignments-v1": {
    codec: AssignmentMessage,
    proto: "assignments/v1/assignments.proto",
    message: "Assignment",
  },
} as const;

/** `piecesAvailable` and `pieces_available` as a file name: `pieces-available`. */
export function fileNameOf(kind: string): string {
  return kind.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll("_", "-");
}

/** The value as JSON can hold it: byte strings become `hex:…`. */
export function toPlain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `hex:${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, toPlain(field)]));
}
