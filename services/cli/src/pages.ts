import type { PageAsked } from "./scheduler-client.ts";

/** As many as the scheduler gives at once. */
const PAGE_SIZE = 1_000;
/** Rows of one command: more belong into a query of the database (`lacewing sql`). */
const ROWS_MAX = 10_000;

export interface Rows<Row> {
  readonly rows: readonly Row[];
  /** There are more. */
  readonly isCut: boolean;
}

/** Reads page after page, up to {@link ROWS_MAX} rows. */
export async function pagesOf<Row>(
  ask: (
    page: PageAsked,
  ) => Promise<{ readonly rows: readonly Row[]; readonly nextPageToken: string }>,
): Promise<Rows<Row>> {
  const rows: Row[] = [];
  let pageToken = "";
  do {
    const page = await ask({ pageSize: PAGE_SIZE, pageToken });
    rows.push(...page.rows);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && rows.length < ROWS_MAX);
  return { rows, isCut: pageToken !== "" };
}
