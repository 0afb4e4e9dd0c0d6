/** An id is a name of 64 characters or a digest of 71; longer text is none, unless it is a URL. */
export const ID_LENGTH_MAX = 128;
/** Tasks of one URL that are named in a note: each had other content. */
export const TASKS_OF_URL_MAX = 16;
/** Tasks of one path among which a URL's is looked for, the newest first: a path may serve thousands of contents by its query. */
export const TASKS_OF_PATH_MAX = 256;
/** Hashes made to find the query that a task was had under: some milliseconds, and deciding shares the thread. */
export const QUERIES_TRIED_MAX = 4_096;
/** Fewer hex digits of a task id are too likely to be another's. */
export const TASK_PREFIX_LENGTH_MIN = 8;
/** Leases in one explanation: more are not read by a person, and each may list thousands of pieces. */
export const LEASES_TOLD_MAX = 500;
/** Downloads of a task in its story. */
export const DOWNLOADS_TOLD_MAX = 200;
/** Peers with their piece maps in one explanation: 32 KiB each in the worst case. */
export const PEERS_TOLD_MAX = 100;
/** Waiting children of which it is told why: each is asked about many holders, and deciding shares the thread. */
export const WAITS_TOLD_MAX = 20;
/** Holders looked at for why they cannot serve a child: beyond it the counts are of these. */
export const HOLDERS_ASKED_MAX = 256;
/** Pieces that a child wants next and that are looked for at each of them. */
export const WANTED_ASKED_MAX = 1_024;
/** Names beside a count of passed-over hosts: enough to go and look. */
export const PASSED_OVER_NAMES_MAX = 16;
/** Entries of a story; of a longer one the first and the last half are told. */
export const STORY_LENGTH_MAX = 1_000;
/** Messages of a slice's log read for one explanation, those that speak of several slices among them: some hundred milliseconds. */
export const HISTORY_MESSAGES_MAX = 20_000;
/** Reading the logs ends after this, whatever was found: the caller waits. */
export const HISTORY_MS_MAX = 2_000;
/** Clocks of broker and schedulers differ; reading begins this much before the time that is looked for. */
export const HISTORY_MARGIN_MS = 5_000;
/** A download is told by its host's clock, a lease by the scheduler's: they may differ by this. */
export const CLOCK_MARGIN_MS = 2_000;
/** Milliseconds the database gets for one statement of a question: whoever asks waits. */
export const QUESTION_TIMEOUT_MS = 5_000;
/** Rows of a page unless the caller says otherwise, and at most. */
export const PAGE_SIZE_DEFAULT = 100;
export const PAGE_SIZE_MAX = 1_000;
