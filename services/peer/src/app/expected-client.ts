import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { RequestId, TaskId } from "@lacewing/contracts/ids.ts";
import type { AttachedRequest } from "./attached-requests.ts";
import type { OriginAccess } from "./origin-access.ts";
import type { TaskDownload } from "./task-download.ts";
import { noBytes, TaskReader } from "./task-reader.ts";

/** A client that will ask for content in a moment, and in whose name the scheduler was asked already. */
export interface ExpectedClient {
  readonly taskId: TaskId;
  readonly requestId: RequestId;
  readonly asked: TaskRequested;
  readonly access: OriginAccess;
  readonly traceparent: string;
  /** It is a client of another host, in whose name this one may read the origin: everything it is given is fetched. */
  readonly isDelegated?: boolean;
  /** Told when it may read the origin: its lease waits until the client comes, or is carried out before. */
  readonly originGranted?: () => void;
}

/** Holds the place of a client that has not come yet, so that what it was given is fetched before it comes. */
export class HeldPlace {
  readonly request: AttachedRequest;

  constructor(download: TaskDownload, { asked, access, traceparent }: ExpectedClient) {
    const { lengthBytes } = download.stored.description;
    this.request = {
      reader: new TaskReader({
        spans: [{ start: 0, end: lengthBytes }],
        task: download,
        withheldFrom: undefined,
        signal: new AbortController().signal,
      }),
      access,
      asked,
      isPlace: true,
      isAsked: true,
      traceparent,
      fetched: noBytes(),
      onDegraded: () => {},
      onSettled: () => {},
    };
    download.attach(this.request, false);
  }

  /** The client is here, and was attached: it takes over the account. */
  handOver(client: AttachedRequest): void {
    const { fetched } = this.request;
    client.isAsked = true;
    client.fetched.localPeer += fetched.localPeer;
    client.fetched.remotePeer += fetched.remotePeer;
    client.fetched.backToSource += fetched.backToSource;
    this.request.isAsked = false;
    this.request.reader.detach(true);
  }

  /** The client did not come. The one who waited for it tells the scheduler. */
  giveUp(): void {
    this.request.isAsked = false;
    this.request.reader.detach(false);
  }
}
