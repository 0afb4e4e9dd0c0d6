import { getTableConfig, type PgTable } from "drizzle-orm/pg-core";
import { deadLetter, downloads, trafficMinute } from "./tables/facts.ts";
import { hosts, leases, peers, tasks } from "./tables/graph.ts";
import { checkpoints, slices } from "./tables/ownership.ts";

/** A column as TypeScript believes it to be. */
export interface DeclaredColumn {
  readonly table: string;
  readonly column: string;
  /** SQL type below any domain. */
  readonly type: string;
  readonly isNotNull: boolean;
}

const TABLES: readonly PgTable[] = [
  checkpoints,
  deadLetter,
  downloads,
  hosts,
  leases,
  peers,
  slices,
  tasks,
  trafficMinute,
];

/** Every column of every drizzle table, to be compared with the catalog: the SQL is what counts. */
export function declaredColumns(): readonly DeclaredColumn[] {
  return TABLES.flatMap((table) => {
    const config = getTableConfig(table);
    return config.columns.map((column) => ({
      table: config.name,
      column: column.name,
      type: column.getSQLType(),
      isNotNull: column.notNull,
    }));
  });
}
