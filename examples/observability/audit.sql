-- The audit log of sessions. Run it as its owner, who must not be the app's role:
--
--   psql "$DATABASE_URL" -v app=web -f audit.sql

create table session_audit (
  number bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  event text not null,
  session_id uuid,
  user_id text,
  reason text
);
create index on session_audit (user_id, at);

-- Append only: the app can add a row, and neither read, change nor delete one. The database gives the number and
-- the time, which the app cannot choose.
grant insert (event, session_id, user_id, reason) on session_audit to :"app";
