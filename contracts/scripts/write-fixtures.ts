// Writes the golden encodings of kinds that have none yet: <kind>.bin as it travels, <kind>.json as a person reads it.
// One that exists is never written again: it stands for messages that are stored somewhere.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { FIXTURES_DIR, fileNameOf, FORMATS, toPlain } from "./fixture-files.ts";
import { type Sample, SAMPLES } from "./fixture-samples.ts";

write("events-v1", SAMPLES["events-v1"], (message) =>
  FORMATS["events-v1"].codec.encode(message).finish(),
);
write("decisions-v1", SAMPLES["decisions-v1"], (message) =>
  FORMATS["decisions-v1"].codec.encode(message).finish(),
);
write("assignments-v1", SAMPLES["assignments-v1"], (message) =>
  FORMATS["assignments-v1"].codec.encode(message).finish(),
);

function write<Message>(
  format: string,
  samples: Readonly<Record<string, Sample<Message>>>,
  encode: (message: Message) => Uint8Array,
): void {
  const folder = new URL(`${format}/`, FIXTURES_DIR);
  mkdirSync(folder, { recursive: true });
  for (const [kind, sample] of Object.entries(samples)) {
    const binary = new URL(`${fileNameOf(kind)}.bin`, folder);
    if (existsSync(binary)) continue;
    writeFileSync(binary, encode(sample.message));
    writeFileSync(
      new URL(`${fileNameOf(kind)}.json`, folder),
      `${JSON.stringify(toPlain(sample), null, 2)}\n`,
    );
    process.stdout.write(`wrote ${format}/${fileNameOf(kind)}\n`);
  }
}
