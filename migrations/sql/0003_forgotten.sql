-- What the scheduler has forgotten stays for analysts until it is too old, and is no longer loaded: a start takes as long as what is
-- there now, not as what ever was.

ALTER TABLE lacewing.tasks ADD COLUMN forgotten_at timestamptz;
COMMENT ON COLUMN lacewing.tasks.forgotten_at IS 'Since when nobody holds or wants it; null while somebody does. It has no peers then.';
CREATE INDEX tasks_remembered ON lacewing.tasks (task_id) WHERE forgotten_at IS NULL AND state <> 'retired';
CREATE INDEX tasks_forgotten_at ON lacewing.tasks (forgotten_at) WHERE forgotten_at IS NOT NULL;

ALTER TABLE lacewing.hosts ADD COLUMN forgotten_at timestamptz;
COMMENT ON COLUMN lacewing.hosts.forgotten_at IS 'Since when the scheduler does not count on its return; null before. What it held is forgotten with it.';

CREATE OR REPLACE FUNCTION lacewing.apply_retention(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
RETURNS TABLE (object text, removed_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_days);
  traffic_cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_traffic_days);
  partition_name text;
BEGIN
  IF keep_days < 1 OR keep_traffic_days < keep_days THEN
    RAISE EXCEPTION 'keep at least 1 day, and traffic (% days) not shorter than downloads (% days)', keep_traffic_days, keep_days
      USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(7310588452);
  FOR partition_name IN
    SELECT child.relname FROM pg_inherits
      JOIN pg_class child ON child.oid = inhrelid
      WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$'
        AND to_date(right(child.relname, 8), 'YYYYMMDD') < (cutoff AT TIME ZONE 'UTC')::date
  LOOP
    EXECUTE format('DROP TABLE lacewing.%I', partition_name);
    object := partition_name; removed_count := 1;
    RETURN NEXT;
  END LOOP;

  DELETE FROM lacewing.downloads_default WHERE ctid IN (
    SELECT ctid FROM lacewing.downloads_default WHERE started_at < cutoff LIMIT row_count_max);
  object := 'downloads_default'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.leases WHERE lease_id IN (
    SELECT lease_id FROM lacewing.leases WHERE ended_at < cutoff LIMIT row_count_max);
  object := 'leases'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  WITH past AS (
    DELETE FROM lacewing.tasks WHERE task_id IN (
      (SELECT task_id FROM lacewing.tasks WHERE state = 'retired' AND updated_at < cutoff LIMIT row_count_max)
      UNION
      (SELECT task_id FROM lacewing.tasks WHERE forgotten_at < cutoff LIMIT row_count_max))
    RETURNING task_id
  ), orphaned AS (
    DELETE FROM lacewing.peers WHERE task_id IN (SELECT task_id FROM past)
  )
  SELECT 'tasks', count(*) INTO object, removed_count FROM past;
  RETURN NEXT;

  DELETE FROM lacewing.hosts WHERE host_id IN (
    SELECT host_id FROM lacewing.hosts WHERE forgotten_at < cutoff LIMIT row_count_max);
  object := 'hosts'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.dead_letter WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM lacewing.dead_letter WHERE parked_at < cutoff LIMIT row_count_max);
  object := 'dead_letter'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.traffic_minute WHERE ctid IN (
    SELECT ctid FROM lacewing.traffic_minute WHERE minute < traffic_cutoff LIMIT row_count_max);
  object := 'traffic_minute'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lacewing.apply_retention(integer, integer, integer) IS 'Drops download partitions and removes ended leases, retired and forgotten tasks, forgotten hosts and dead letters older than keep_days, roll-ups older than keep_traffic_days; at most row_count_max rows of a table at once, so that a call stays short: call again for more. Returns what went.';
