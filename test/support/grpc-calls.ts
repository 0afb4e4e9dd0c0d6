import { Client, credentials, type ServiceError } from "@grpc/grpc-js";

/** gRPC calls as a tool makes them that knows nothing of our generated code: bytes in, bytes out. */

const CALL_TIMEOUT_MS = 10_000;
/** Field 7 of `ServerReflectionRequest`, and field 4: length-delimited texts. */
const LIST_SERVICES = 0x3a;
const FILE_CONTAINING_SYMBOL = 0x22;
/** Field 1 of `HealthCheckRequest`. */
const SERVICE = 0x0a;

/** One unary call of a generated client as a promise. */
export function answerOf<Response>(
  ask: (callback: (error: ServiceError | null, response: Response) => void) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    ask((error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

/** The names of the services that a server tells of, found in its answer as they stand there. */
export async function reflectedServices(address: string, version: "v1" | "v1alpha") {
  const answer = await reflect(address, version, textField(LIST_SERVICES, "*"));
  return [...new Set(answer.toString("latin1").match(/[a-z0-9]+(?:\.[a-z0-9]+)*\.[A-Z]\w+/g))];
}

/** The descriptor of the file that has the symbol, as bytes. */
export function reflectedFile(address: string, symbol: string): Promise<Buffer> {
  return reflect(address, "v1", textField(FILE_CONTAINING_SYMBOL, symbol));
}

/** `SERVING` is 1; 0 is unknown, 2 is not serving. */
export async function healthOf(address: string, service: string): Promise<number> {
  const client = new Client(address, credentials.createInsecure());
  try {
    const answer = await answerOf<Buffer>((callback) =>
      client.makeUnaryRequest(
        "/grpc.health.v1.Health/Check",
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        textField(SERVICE, service),
        { deadline: Date.now() + CALL_TIMEOUT_MS },
        (error, response) => callback(error, response ?? Buffer.alloc(0)),
      ),
    );
    return answer[1] ?? 0;
  } finally {
    client.close();
  }
}

async function reflect(
  address: string,
  version: "v1" | "v1alpha",
  request: Buffer,
): Promise<Buffer> {
  const client = new Client(address, credentials.createInsecure());
  try {
    const call = client.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      { deadline: Date.now() + CALL_TIMEOUT_MS },
    );
    call.write(request);
    call.end();
    const answers: AsyncIterable<Buffer> = call;
    const parts: Buffer[] = [];
    for await (const answer of answers) parts.push(answer);
    return Buffer.concat(parts);
  } finally {
    client.close();
  }
}

/** A text below 128 bytes as a protobuf field. */
function textField(tag: number, text: string): Buffer {
  return Buffer.concat([Buffer.from([tag, Buffer.byteLength(text)]), Buffer.from(text)]);
}
