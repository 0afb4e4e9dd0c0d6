-- Old rows and old partitions go apart from each other: rows need no lock that anybody notices, while dropping a partition keeps every reader
-- of downloads out, and waits for those that are inside. Only functions change; no table is rewritten or locked.

CREATE FUNCTION lacewing.old_partitions(keep_days integer) RETURNS SETOF text
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF keep_days < 1 THEN
    RAISE EXCEPTION 'keep at least 1 day, not %', keep_days USING ERRCODE = '22023';
  END IF;
  RETURN QUERY
    SELECT child.relname::text FROM pg_inherits
      JOIN pg_class child ON child.oid = inhrelid
      WHERE inhparent = 'lacewing.downloads'::regclass AND child.relname ~ '^downloads_[0-9]{8}$'
        AND to_date(right(child.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - keep_days
      ORDER BY child.relname;
END
$$;
COMMENT ON FUNCTION lacewing.old_partitions(integer) IS 'Names of the day partitions of downloads that are older than keep_days, oldest first.';

CREATE FUNCTION lacewing.drop_old_partition(partition_name text, keep_days integer) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM lacewing.old_partitions(keep_days) AS old (name) WHERE name = partition_name) THEN
    RETURN false;
  END IF;
  EXECUTE format('DROP TABLE IF EXISTS lacewing.%I', partition_name);
  RETURN true;
END
$$;
COMMENT ON FUNCTION lacewing.drop_old_partition(text, integer) IS 'Drops one partition that old_partitions names; false when it does not. Waits for everybody who reads downloads, and keeps others out meanwhile and until its transaction ends: set a short lock_timeout, and commit at once.';

CREATE FUNCTION lacewing.remove_old_rows(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
RETURNS TABLE (object text, removed_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_days);
  traffic_cutoff timestamptz := date_trunc('day', now(), 'UTC') - make_interval(days => keep_traffic_days);
BEGIN
  IF keep_days < 1 OR keep_traffic_days < keep_days THEN
    RAISE EXCEPTION 'keep at least 1 day, and traffic (% days) not shorter than downloads (% days)', keep_traffic_days, keep_days
      USING ERRCODE = '22023';
  END IF;
  PERFORM pg_advisory_xact_lock(7310588452);

  -- What can be remembered again is looked at twice: a row that somebody is about to write is waited for, and then it may be young.
  DELETE FROM lacewing.downloads_default WHERE ctid IN (
    SELECT ctid FROM lacewing.downloads_default WHERE started_at < cutoff LIMIT row_count_max);
  object := 'downloads_default'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;

  DELETE FROM lacewing.leases WHERE lease_id IN (
    SELECT lease_id FROM lacewing.leases WHERE ended_at < cutoff LIMIT row_count_max) AND ended_at < cutoff;
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
    SELECT ctid FROM lacewing.traffic_minute WHERE minute < traffic_cutoff LIMIT row_count_max);
  object := 'traffic_minute'; GET DIAGNOSTICS removed_count = ROW_COUNT;
  RETURN NEXT;
END
$$;
COMMENT ON FUNCTION lacewing.remove_old_rows(integer, integer, integer) IS 'Removes ended leases, retired and forgotten tasks, forgotten hosts, dead letters and downloads without a partition that are older than keep_days, roll-ups older than keep_traffic_days; at most row_count_max rows of a table at once, so that a call stays short: call again while one of the counts reaches it. Returns how many went of each table.';

-- For operators, and for schedulers of before. The strong lock comes last and is not waited for: rows go whoever reads.
CREATE OR REPLACE FUNCTION lacewing.apply_retention(keep_days integer, keep_traffic_days integer, row_count_max integer DEFAULT 50000)
RETURNS TABLE (object text, removed_count bigint)
LANGUAGE plpgsql AS $$
DECLARE
  lock_timeout_before text := current_setting('lock_timeout');
  partition_name text;
BEGIN
  RETURN QUERY SELECT * FROM lacewing.remove_old_rows(keep_days, keep_traffic_days, row_count_max);
  PERFORM set_config('lock_timeout', '200ms', true);
  FOR partition_name IN SELECT * FROM lacewing.old_partitions(keep_days) LOOP
    BEGIN
      IF lacewing.drop_old_partition(partition_name, keep_days) THEN
        object := partition_name; removed_count := 1;
        RETURN NEXT;
      END IF;
    EXCEPTION WHEN lock_not_available THEN
      RAISE WARNING 'somebody reads %, it is dropped by a later call', partition_name;
      EXIT;
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$$;
COMMENT ON FUNCTION lacewing.apply_retention(integer, integer, integer) IS 'remove_old_rows, and drops what old_partitions names until one is being read: call again for more, and for what was held up. Returns what went.';

---------------------------------------------------------------------------------------------------------------------
-- What analysts read: one figure that cannot be true must not take a whole view away. Columns keep their types.

CREATE FUNCTION lacewing.bounded(amount numeric) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN amount > 9223372036854775807 THEN 9223372036854775807
    WHEN amount < -9223372036854775807 THEN -9223372036854775807
    ELSE amount::bigint
  END
$$;
COMMENT ON FUNCTION lacewing.bounded(numeric) IS 'The amount as a bigint: one that does not fit is the largest that does, which no true sum reaches. Null stays null.';

CREATE OR REPLACE VIEW lacewing.cache_hit_rate_hourly AS
SELECT
  date_trunc('hour', minute, 'UTC') AS hour,
  host_id,
  application,
  tag,
  lacewing.bounded(sum(request_count)) AS request_count,
  lacewing.bounded(sum(failed_request_count)) AS failed_request_count,
  lacewing.bounded(sum(local_peer_request_count::numeric + remote_peer_request_count)) AS hit_request_count,
  lacewing.bounded(sum(local_peer_request_count)) AS local_peer_request_count,
  lacewing.bounded(sum(remote_peer_request_count)) AS remote_peer_request_count,
  lacewing.bounded(sum(back_to_source_request_count)) AS back_to_source_request_count,
  round(sum(local_peer_request_count::numeric + remote_peer_request_count)
    / nullif(sum(local_peer_request_count::numeric + remote_peer_request_count + back_to_source_request_count), 0), 6)::double precision
    AS request_hit_rate,
  lacewing.bounded(sum(delivered_local_peer_bytes)) AS delivered_local_peer_bytes,
  lacewing.bounded(sum(delivered_remote_peer_bytes)) AS delivered_remote_peer_bytes,
  lacewing.bounded(sum(delivered_back_to_source_bytes)) AS delivered_back_to_source_bytes,
  lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes)) AS delivered_bytes,
  lacewing.bounded(sum(fetched_remote_peer_bytes)) AS remote_peer_bytes,
  lacewing.bounded(sum(fetched_back_to_source_bytes)) AS back_to_source_bytes,
  lacewing.bounded(sum(probe_bytes)) AS probe_bytes,
  round(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes)
    / nullif(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes), 0), 6)::double precision
    AS byte_hit_rate
FROM lacewing.traffic_minute
GROUP BY 1, 2, 3, 4;

CREATE OR REPLACE VIEW lacewing.task_popularity AS
SELECT
  d.task_id,
  t.url,
  t.application,
  t.tag,
  t.length_bytes,
  t.state,
  d.request_count,
  d.requesting_host_count,
  coalesce(p.holding_host_count, 0) AS holding_host_count,
  d.delivered_bytes,
  d.back_to_source_bytes,
  round(d.back_to_source_bytes::numeric / nullif(t.length_bytes, 0), 3)::double precision AS origin_copies,
  d.last_started_at
FROM (
  SELECT
    task_id,
    lacewing.bounded(sum(request_count)) AS request_count,
    count(DISTINCT host_id) AS requesting_host_count,
    lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes)) AS delivered_bytes,
    lacewing.bounded(sum(fetched_back_to_source_bytes)) AS back_to_source_bytes,
    max(started_at) AS last_started_at
  FROM lacewing.downloads
  WHERE task_id IS NOT NULL
  GROUP BY task_id
) d
LEFT JOIN lacewing.tasks t ON t.task_id = d.task_id
LEFT JOIN (
  SELECT task_id, count(*) AS holding_host_count FROM lacewing.peers WHERE held_piece_count > 0 GROUP BY task_id
) p ON p.task_id = d.task_id
ORDER BY d.request_count DESC, d.delivered_bytes DESC;

CREATE OR REPLACE VIEW lacewing.traffic_matrix AS
SELECT
  l.parent_host_id IS NULL AS is_from_origin,
  CASE WHEN l.parent_host_id IS NULL THEN 'origin' ELSE coalesce(parent.idc, '') END AS from_idc,
  coalesce(child.idc, '') AS to_idc,
  count(*) AS lease_count,
  count(*) FILTER (WHERE l.outcome = 'finished') AS finished_lease_count,
  count(*) FILTER (WHERE l.outcome NOT IN ('finished', 'live')) AS failed_lease_count,
  lacewing.bounded(sum(l.bytes)) AS bytes,
  lacewing.bounded(round(sum(l.bytes) FILTER (WHERE l.transfer_ms > 0) * 1000
    / sum(l.transfer_ms) FILTER (WHERE l.transfer_ms > 0))) AS bytes_per_second
FROM lacewing.leases l
LEFT JOIN lacewing.hosts parent ON parent.host_id = l.parent_host_id
LEFT JOIN lacewing.hosts child ON child.host_id = l.child_host_id
GROUP BY 1, 2, 3
ORDER BY bytes DESC;

CREATE OR REPLACE VIEW lacewing.origin_savings AS
SELECT
  (date_trunc('day', minute, 'UTC') AT TIME ZONE 'UTC')::date AS day,
  lacewing.bounded(sum(request_count)) AS request_count,
  lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes)) AS delivered_bytes,
  lacewing.bounded(sum(fetched_back_to_source_bytes)) AS origin_bytes,
  lacewing.bounded(sum(probe_bytes)) AS probe_bytes,
  lacewing.bounded(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes)
    - sum(fetched_back_to_source_bytes)) AS saved_bytes,
  round((sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes)
    - sum(fetched_back_to_source_bytes))
    / nullif(sum(delivered_local_peer_bytes::numeric + delivered_remote_peer_bytes + delivered_back_to_source_bytes), 0), 6)::double precision
    AS saved_ratio
FROM lacewing.traffic_minute
GROUP BY 1
ORDER BY 1 DESC;

CREATE OR REPLACE VIEW lacewing.slow_downloads AS
SELECT
  d.download_id,
  d.started_at,
  d.host_id,
  d.task_id,
  d.url,
  d.application,
  d.traffic,
  d.outcome,
  d.degraded,
  d.ttfb_ms::bigint AS ttfb_ms,
  d.cost_ms::bigint AS cost_ms,
  d.delivered_bytes,
  lacewing.bounded(round(d.delivered_bytes * 1000.0 / nullif(d.cost_ms, 0))) AS bytes_per_second,
  d.trace_id
FROM (
  SELECT *,
    (delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes) / request_count AS delivered_bytes
  FROM lacewing.downloads
  WHERE started_at >= now() - interval '24 hours' AND started_at < now() + interval '1 hour'
) d
WHERE d.delivered_bytes > 0
ORDER BY d.cost_ms DESC, d.delivered_bytes
LIMIT 100;
COMMENT ON VIEW lacewing.slow_downloads IS 'The 100 downloads of the last 24 hours that took longest, with their trace ids; order by bytes_per_second for the slowest among them. Starts more than an hour ahead, which a host''s wrong clock told, are left out.';
