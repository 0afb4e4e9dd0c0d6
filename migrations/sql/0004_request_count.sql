-- A busy host tells the requests that it answered from its own copy in sums: one row may stand for many. Rows of before, and of
-- schedulers that do not know the column yet, stand for one.

ALTER TABLE lacewing.downloads ADD COLUMN request_count lacewing.quantity NOT NULL DEFAULT 1 CHECK (request_count >= 1);
COMMENT ON TABLE lacewing.downloads IS 'One row for each client request that ended, or for many that a busy host answered alike from its own copy (request_count). Partitioned by day (UTC) of its start. A host sends a fact again until it is confirmed, always with the same start, so the key counts it once.';
COMMENT ON COLUMN lacewing.downloads.download_id IS 'Unique for ever; the same as the request id where request_count is 1.';
COMMENT ON COLUMN lacewing.downloads.request_count IS 'Client requests that the row stands for: count them with sum(request_count). Above 1 bytes are their sum, ttfb_ms and cost_ms are of the slowest, started_at is of the first, trace_id is of the sum itself.';

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
    sum(request_count)::bigint AS request_count,
    count(DISTINCT host_id) AS requesting_host_count,
    sum(delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes)::bigint AS delivered_bytes,
    sum(fetched_back_to_source_bytes)::bigint AS back_to_source_bytes,
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
  round(d.delivered_bytes * 1000.0 / nullif(d.cost_ms, 0))::bigint AS bytes_per_second,
  d.trace_id
FROM (
  SELECT *,
    (delivered_local_peer_bytes + delivered_remote_peer_bytes + delivered_back_to_source_bytes) / request_count AS delivered_bytes
  FROM lacewing.downloads
  WHERE started_at >= now() - interval '24 hours'
) d
WHERE d.delivered_bytes > 0
ORDER BY d.cost_ms DESC, d.delivered_bytes
LIMIT 100;
COMMENT ON COLUMN lacewing.slow_downloads.delivered_bytes IS 'Content bytes handed to the client; of a row that stands for many requests, to one of them on average.';
