-- Retention looks ahead as well: what a wrong clock dated years ahead would else stay for years. These are the rows that others than this
-- database date: downloads and roll-ups (hosts), leases (schedulers). Only a function changes; no table is rewritten or locked.
--
-- A database whose own clock was set back sees everything ahead of it. Partitions are made by that clock, two days ahead: what lies near the
-- newest one is no stranger.

CREATE OR REPLACE FUNCTION lacewing.remove_old_rows(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
RETURNS TABLE (object text, removed_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_days);
  traffic_cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_traffic_days);
  newest_day date;
  ahead timestamptz;
  traffic_ahead timestamptz;
BEGIN
  IF keep_days < 1 OR keep_traffic_days < keep_days THEN
    RAISE EXCEPTION 'keep at least 1 day, and traffic (% days) not shorter than downloads (% days)', keep_traffic_days, keep_days
      USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(7310588452);

  SELECT greatest((now() AT TIME ZONE 'UTC')::date, max(to_date(right(child.relname, 8), 'YYYYMMDD'))) INTO newest_day
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$';
  ahead := (newest_day + keep_days + 1)::timestamp AT TIME ZONE 'UTC';
  traffic_ahead := (newest_day + keep_traffic_days + 1)::timestamp AT TIME ZONE 'UTC';

  -- What can be remembered again is looked at twice: a row that somebody is about to write is waited for, and then it may be young.
  DELETE FROM lacewing.downloads_default WHERE ctid IN (
    SELECT ctid FROM (
      (SELECT ctid FROM lacewing.downloads_default WHERE started_at < cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT ctid FROM lacewing.downloads_default WHERE started_at >= ahead LIMIT row_count_max)) past LIMIT row_count_max);
  object := 'downloads_default'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.leases WHERE lease_id IN (
    SELECT lease_id FROM (
      (SELECT lease_id FROM lacewing.leases WHERE ended_at < cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT lease_id FROM lacewing.leases WHERE ended_at >= ahead LIMIT row_count_max)) past LIMIT row_count_max)
    AND (ended_at < cutoff OR ended_at >= ahead);
  object := 'leases'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  WITH past AS (
    DELETE FROM lacewing.tasks WHERE task_id IN (
      (SELECT task_id FROM lacewing.tasks WHERE state = 'retired' AND updated_at < cutoff LIMIT row_count_max)
      UNION
      (SELECT task_id FROM lacewing.tasks WHERE forgotten_at < cutoff LIMIT row_count_max))
      AND ((state = 'retired' AND updated_at < cutoff) OR forgotten_at < cutoff)
    RETURNING task_id
  ), orphaned AS (
    DELETE FROM lacewing.peers WHERE task_id IN (SELECT task_id FROM past)
  )
  SELECT 'tasks', count(*) INTO object, removed_count FROM past;
  RETURN NEXT;

  DELETE FROM lacewing.hosts WHERE host_id IN (
    SELECT host_id FROM lacewing.hosts WHERE forgotten_at < cutoff LIMIT row_count_max) AND forgotten_at < cutoff;
  object := 'hosts'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.dead_letter WHERE dead_letter_id IN (
    SELECT dead_letter_id FROM lacewing.dead_letter WHERE parked_at < cutoff LIMIT row_count_max);
  object := 'dead_letter'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.traffic_minute WHERE ctid IN (
    SELECT ctid FROM (
      (SELECT ctid FROM lacewing.traffic_minute WHERE minute < traffic_cutoff LIMIT row_count_max)
      UNION ALL
      (SELECT ctid FROM lacewing.traffic_minute WHERE minute >= traffic_ahead LIMIT row_count_max)) past LIMIT row_count_max);
  object := 'traffic_minute'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lacewing.remove_old_rows(integer, integer, integer) IS 'Removes ended leases, retired and forgotten tasks, forgotten hosts, dead letters and downloads without a partition that are older than keep_days, and roll-ups older than keep_traffic_days; likewise leases, downloads and roll-ups that a wrong clock dated as far ahead of today, or of the newest day that has a partition. At most row_count_max rows of a table at once, so that a call stays short: call again while one of the counts reaches it. Returns how many went of each table.';
