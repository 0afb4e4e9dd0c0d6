-- A plan that is kept for any values takes a tenth of each table for old, and another one for dated far ahead. It reads long tables through for
-- what the index shows not to be there, and after a few large removals a connection keeps such a plan. Planned for the very values,
-- which takes a millisecond, the index is used. Only a setting of the function changes; no table is rewritten or locked.
--
-- CREATE OR REPLACE forgets the setting: give it again.
ALTER FUNCTION lacewing.remove_old_rows(integer, integer, integer) SET plan_cache_mode = force_custom_plan;
