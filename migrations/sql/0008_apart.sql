-- Who has other content by the name of a task is remembered by the rows: a scheduler that starts from them would else count the pieces
-- of that content as the task's. The default is kept in the catalog, so no row is rewritten, however many there are.
--
-- The strong lock is not waited for: behind who waits, readers and the scheduler that is at work wait too. It is tried for 0.2 s and
-- again a little later, for half a minute.

DO $$
DECLARE
  lock_timeout_before text := current_setting('lock_timeout');
  attempt_count_max constant integer := 75;
BEGIN
  PERFORM set_config('lock_timeout', '200ms', true);
  FOR attempt IN 1..attempt_count_max LOOP
    BEGIN
      ALTER TABLE lacewing.peers ADD COLUMN is_apart boolean NOT NULL DEFAULT false;
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF attempt = attempt_count_max THEN RAISE; END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$$;
COMMENT ON COLUMN lacewing.peers.is_apart IS 'What the host has by the name of the task is of another length: it is no part of the task, and the host neither gives nor gets pieces of it.';
