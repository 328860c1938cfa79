-- Every statement that coatcheck sends, but for the migrations. `node scripts/sql.mjs` writes the final
-- texts with their comments to sql/statements.sql.
--
-- What they have in common:
-- - `$1` is the number of the call, which each row returns; see `query` in sql.ts.
-- - Values are sent as text and cast in SQL, because an app may give its client serializers of its own for
--   uuid, timestamptz or boolean. Rows are columns of text for the same reason.
-- - A write is one UPDATE or INSERT in a CTE `s`, and a SELECT of what it wrote. If it writes nothing, a
--   second statement reads why; see write.ts. Citus refuses stable functions in RETURNING, and sends this
--   form to one shard.
-- - Operators and functions get the exact types of one in pg_catalog, or are written with that schema:
--   PostgreSQL prefers an overload in another schema of the search_path if its types match better.
-- - The clock is statement_timestamp(): now() stands still inside a long transaction.

-- Written by scripts/sql.mjs. The text that is sent has a space for each line break and its indentation.

-- FIND_USER
--
-- Finds the key of the one user with a username, in the type of `sessions.user_id`. Reads one user, takes no
-- lock. If two users have the name, it fails. jsonb_populate_record gives the value the column's own type: as
-- text, it would find no user by a citext name, and would scan the table.
--
-- $1 the call; $2 username.
select $1::text as call,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type
from (
  select (
    select u.id
    from coatcheck.users u
    where u.username = (select asked.username from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('username', $2::text)) asked)
  )::text as id
) found
cross join lateral pg_catalog.jsonb_populate_record(null::coatcheck.sessions,
  pg_catalog.jsonb_build_object('user_id', found.id)) s
where found.id is not null;

-- CREATE
--
-- Stores a new session of the one user with a username; returns no row if there is none. It only inserts: an
-- id that exists is an error. If two users have the name, or two rows the id, it fails. Locks the user's row
-- as a foreign key does.
--
-- $1 the call; $2 username; $3 id; $4 digest of the secret; $5 absoluteTimeout; $6 persistent; $7 data.
with found as materialized (
  select (
    select u.id
    from coatcheck.users u
    where u.username = (select asked.username from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('username', $2::text)) asked)
  ) as id, statement_timestamp() as now
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select $3::text::uuid, found.id, pg_catalog.decode($4::text, 'hex'), found.now, found.now, found.now,
    found.now + $5::text::interval, $6::text::boolean, $7::text::jsonb
  from found
  where found.id is not null
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = pg_catalog.decode($4::text, 'hex') and s.user_id = found.id
    and s.authenticated_at between found.now - interval '1 second'
      and found.now + interval '1 second'
    and s.revoked_at is null
    and s.expires_at > greatest(found.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between found.now - interval '1 second'
      and found.now + interval '1 second')::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus
from found
left join s on true
where found.id is not null;

-- INSERT
--
-- Stores a new session of the one user with a key, as CREATE does. A user whose username is null
-- does not count.
--
-- $1 the call; $2 the user's key; $3 id; $4 digest of the secret; $5 absoluteTimeout; $6 persistent; $7 data;
-- $8 created at, or null for now; $9 expires at, or null for $5 from now.
with found as materialized (
  select (
    select u.id
    from coatcheck.users u
    where u.id = (select asked.id from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('id', $2::text)) asked) and u.username is not null
  ) as id, statement_timestamp() as now
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select $3::text::uuid, found.id, pg_catalog.decode($4::text, 'hex'),
    coalesce($8::text::timestamptz, found.now), least($8::text::timestamptz, found.now), found.now,
    coalesce($9::text::timestamptz, found.now + $5::text::interval),
    $6::text::boolean, $7::text::jsonb
  from found
  where found.id is not null
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = pg_catalog.decode($4::text, 'hex') and s.user_id = found.id
    and (coalesce($9::text::timestamptz <= found.now, false)
      or s.authenticated_at >= least($8::text::timestamptz, found.now - interval '1 second')
    and s.revoked_at is null
    and s.expires_at > greatest(found.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between found.now - interval '1 second'
      and found.now + interval '1 second'))::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus
from found
left join s on true
where found.id is not null;

-- CREATE_KEEPING
--
-- CREATE with some of the data of a guest, whose session it revokes. In one statement: an
-- update of the guest's data that was answered before is in the new session. Keys that are given win. If the
-- data is then too large, nothing of the guest's is kept. Locks the guest's row.
--
-- $1 the call; $2 the guest's id; $3 digest of the presented secret; $4 absoluteTimeout; $5 idleTimeout; $6
-- rotationGrace; $7 username; $8 id; $9 digest of the secret; $10 persistent; $11 data; $12 the keys to keep.
with found as materialized (
  select (
    select u.id
    from coatcheck.users u
    where u.username = (select asked.username from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('username', $7::text)) asked)
  ) as id, statement_timestamp() as now
), durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  from coatcheck.sessions d
  where d.id = $2::text::uuid and pg_catalog.current_setting('synchronous_commit') = 'off'
), old as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'replaced'
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and s.user_id is null
    and (select found.id from found) is not null
    and (select count(*) from durable) >= 0
  returning s.id, s.data
), merged as materialized (
  select coalesce((
      select pg_catalog.jsonb_object_agg(k.key, k.value)
      from old
      cross join lateral pg_catalog.jsonb_each(old.data) k(key, value)
      where k.key = any($12::text[])
    ), '{}'::jsonb) || $11::text::jsonb as data
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select $8::text::uuid, found.id, pg_catalog.decode($9::text, 'hex'), found.now, found.now, found.now,
    found.now + $4::text::interval, $10::text::boolean,
    case when octet_length(m.data::text) <= 131072 then m.data else $11::text::jsonb end
  from found cross join merged m
  where found.id is not null
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = pg_catalog.decode($9::text, 'hex') and s.user_id = found.id
    and s.authenticated_at between found.now - interval '1 second'
      and found.now + interval '1 second'
    and s.revoked_at is null
    and s.expires_at > greatest(found.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between found.now - interval '1 second'
      and found.now + interval '1 second')::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus,
  (select old.id::text from old) as guest,
  (octet_length(m.data::text) > 131072)::text as is_dropped
from found
cross join merged m
left join s on true
where found.id is not null;

-- INSERT_KEEPING
--
-- CREATE_KEEPING for a user's key.
--
-- $1 to $12 as in CREATE_KEEPING, but $7 the user's key.
with found as materialized (
  select (
    select u.id
    from coatcheck.users u
    where u.id = (select asked.id from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('id', $7::text)) asked) and u.username is not null
  ) as id, statement_timestamp() as now
), durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  from coatcheck.sessions d
  where d.id = $2::text::uuid and pg_catalog.current_setting('synchronous_commit') = 'off'
), old as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'replaced'
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and s.user_id is null
    and (select found.id from found) is not null
    and (select count(*) from durable) >= 0
  returning s.id, s.data
), merged as materialized (
  select coalesce((
      select pg_catalog.jsonb_object_agg(k.key, k.value)
      from old
      cross join lateral pg_catalog.jsonb_each(old.data) k(key, value)
      where k.key = any($12::text[])
    ), '{}'::jsonb) || $11::text::jsonb as data
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select $8::text::uuid, found.id, pg_catalog.decode($9::text, 'hex'), found.now, found.now, found.now,
    found.now + $4::text::interval, $10::text::boolean,
    case when octet_length(m.data::text) <= 131072 then m.data else $11::text::jsonb end
  from found cross join merged m
  where found.id is not null
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = pg_catalog.decode($9::text, 'hex') and s.user_id = found.id
    and s.authenticated_at between found.now - interval '1 second'
      and found.now + interval '1 second'
    and s.revoked_at is null
    and s.expires_at > greatest(found.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between found.now - interval '1 second'
      and found.now + interval '1 second')::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus,
  (select old.id::text from old) as guest,
  (octet_length(m.data::text) > 131072)::text as is_dropped
from found
cross join merged m
left join s on true
where found.id is not null;

-- INSERT_GUEST
--
-- Stores a new session without a user. Takes no lock.
--
-- $1 the call; $2 id; $3 digest of the secret; $4 absoluteTimeout; $5 persistent; $6 data.
with clock as materialized (
  select statement_timestamp() as now
), s as (
  insert into coatcheck.sessions as s
    (id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select $2::text::uuid, pg_catalog.decode($3::text, 'hex'), clock.now, clock.now, clock.now,
    clock.now + $4::text::interval, $5::text::boolean, $6::text::jsonb
  from clock
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = pg_catalog.decode($3::text, 'hex') and s.user_id is null
    and s.authenticated_at between clock.now - interval '1 second'
      and clock.now + interval '1 second'
    and s.revoked_at is null
    and s.expires_at > greatest(clock.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between clock.now - interval '1 second'
      and clock.now + interval '1 second')::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus
from s cross join clock;

-- DISCARD
--
-- Deletes a new session, because the rest of its sign-in failed. By its id alone, which this call has
-- inserted, as a trigger may have changed the rest. Locks its row.
--
-- $1 the call; $2 id.
with s as (
  delete from coatcheck.sessions s
  where s.id = $2::text::uuid
  returning s.id
)
select $1::text as call, s.id::text as id from s;

-- LIMIT
--
-- Revokes the live sessions of one user above a number, the least recently used first, and never the one that
-- was just created. If there are more than 10,000 to revoke, it reads and revokes as many.
--
-- It is a statement of its own, so that it sees what concurrent calls have inserted. It locks the user's live
-- sessions, and skips those that another statement holds, so that it does not wait with a lock, in a
-- deadlock. A skipped session is returned without its user, and the call tries again. A session that a
-- concurrent call has just revoked is not counted, so that two calls never revoke each other's. A session
-- that a trigger has kept from being revoked is returned as no row of a session.
--
-- $1 the call; $2 the new session's id; $3 the number; $4 absoluteTimeout; $5 idleTimeout.
with live as materialized (
  select s.id
  from coatcheck.sessions s
  where s.user_id = (select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid)
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
  order by s.last_seen_at, s.id
  limit $3::text::bigint + 10000
), held as materialized (
  select h.id, h.last_seen_at
  from coatcheck.sessions h
  where h.id = any(array(select l.id from live l)) and h.revoked_at is null
  order by h.id
  for no key update of h skip locked
), excess as (
  select h.id
  from held h
  order by (h.id = $2::text::uuid) desc, h.last_seen_at desc, h.id desc
  offset $3::text::bigint
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'limit'
  where s.id = any(array(select e.id from excess e))
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type
from s
where s.revoked_at is not null
union all
select $1::text, e.id::text, null, 'not revoked'
from excess e
where e.id not in (select s.id from s where s.revoked_at is not null)
union all
select $1::text, l.id::text, null, null
from live l
where l.id not in (select h.id from held h);

-- LIMIT_UNLOCKED
--
-- A weaker form of LIMIT, for a server that cannot lock many rows (Citus). It revokes older
-- sessions only, so that two that run at the same time never revoke each other's. Both may leave one too
-- many.
--
-- $1 the call; $2 the new session's id; $3 the number; $4 absoluteTimeout; $5 idleTimeout.
with own as (
  select o.id, o.user_id, o.created_at from coatcheck.sessions o where o.id = $2::text::uuid
), excess as (
  select s.id
  from coatcheck.sessions s
  where s.user_id = (select o.user_id from own o)
    and s.id <> $2::text::uuid
    and s.created_at <= (select o.created_at from own o)
    and (s.created_at < (select o.created_at from own o) or s.id < $2::text::uuid)
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
  order by s.last_seen_at desc, s.id desc
  offset $3::text::bigint - 1
  limit 10000
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'limit'
  where s.id = any(array(select e.id from excess e)) and s.revoked_at is null
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type
from s;

-- VALIDATE
--
-- Finds the session of a presented token. Reads one row, takes no lock, decides nothing: evaluate.ts does. A
-- secret that is neither the current nor the previous one finds no row, so that it learns nothing.
--
-- $1 the call; $2 id; $3 digest of the presented secret.
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.revoked_at is not null)::text as is_revoked,
  s.revoked_reason as reason,
  (s.previous_digest is not null)::text as is_rotated,
  extract(epoch from s.rotated_at)::text as rotated,
  extract(epoch from s.rotation_seen_at)::text as rotation_seen,
  pg_is_in_recovery()::text as is_standby,
  (s.digest = pg_catalog.decode($3::text, 'hex'))::text as is_current
from coatcheck.sessions s
where s.id = $2::text::uuid
  and pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest);

-- TOUCH
--
-- Records the use of a session and the first presentation of its new secret, if one of the two is due, and
-- deletes a salt that is no longer needed. Locks the row; skips it if another statement holds it.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $4 absoluteTimeout; $5 idleTimeout; $6
-- rotationGrace; $7 touchInterval, or null.
with s as (
  update coatcheck.sessions s
  set last_seen_at = clock.now,
    rotation_seen_at = case
      when s.digest = pg_catalog.decode($3::text, 'hex') and s.previous_digest is not null
        and s.rotation_seen_at is null then clock.now
      else s.rotation_seen_at
    end,
    rotation_salt = case
      when s.rotation_seen_at is null
        or s.rotation_seen_at > clock.grace and s.rotation_seen_at < clock.ahead then s.rotation_salt
    end
  from (
    select statement_timestamp() as now,
      statement_timestamp() - $6::text::interval as grace,
      statement_timestamp() + $6::text::interval as ahead
  ) clock
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and (s.last_seen_at <= statement_timestamp() - $7::text::interval
      or s.last_seen_at >= statement_timestamp() + $7::text::interval
      or s.digest = pg_catalog.decode($3::text, 'hex') and s.previous_digest is not null
        and s.rotation_seen_at is null)
    and s.id = (
      select l.id from coatcheck.sessions l
      where l.id = $2::text::uuid
      for no key update skip locked
    )
  returning s.*, clock.now
)
select $1::text as call,
  s.id::text as id,
  extract(epoch from s.last_seen_at)::text as last_seen,
  (pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
    and s.authenticated_at = (
      select o.authenticated_at from coatcheck.sessions o where o.id = $2::text::uuid
    )
    and s.revoked_at is null
    and s.expires_at > greatest(s.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.user_id is not distinct from (
      select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid
    ))::text as is_intact
from s;

-- ROTATE
--
-- Gives a session a new secret, if the presented one is the current one and the last rotation is settled.
-- Locks the row.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $4 absoluteTimeout; $5 idleTimeout; $6
-- rotationGrace; $7 digest of the new secret; $8 the salt that derived it.
with s as (
  update coatcheck.sessions s
  set previous_digest = s.digest,
    digest = pg_catalog.decode($7::text, 'hex'),
    rotation_salt = pg_catalog.decode($8::text, 'hex'),
    rotated_at = statement_timestamp(),
    rotation_seen_at = null,
    last_seen_at = statement_timestamp()
  from (select statement_timestamp() as now) clock
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and s.digest = pg_catalog.decode($3::text, 'hex')
    and (s.previous_digest is null
      or s.rotation_seen_at <= statement_timestamp() - $6::text::interval
      or s.rotation_seen_at >= statement_timestamp() + $6::text::interval)
  returning s.*, clock.now
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.digest = pg_catalog.decode($7::text, 'hex')
    and s.previous_digest = pg_catalog.decode($3::text, 'hex')
    and s.rotation_salt = pg_catalog.decode($8::text, 'hex')
    and s.authenticated_at = (
      select o.authenticated_at from coatcheck.sessions o where o.id = $2::text::uuid
    )
    and s.revoked_at is null
    and s.expires_at > greatest(s.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.user_id is not distinct from (
      select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid
    ))::text as is_intact
from s;

-- ROTATE_DUE
--
-- ROTATE within a validation: skips a row that another statement holds.
--
-- $1 to $8 as in ROTATE.
with s as (
  update coatcheck.sessions s
  set previous_digest = s.digest,
    digest = pg_catalog.decode($7::text, 'hex'),
    rotation_salt = pg_catalog.decode($8::text, 'hex'),
    rotated_at = statement_timestamp(),
    rotation_seen_at = null,
    last_seen_at = statement_timestamp()
  from (select statement_timestamp() as now) clock
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and s.digest = pg_catalog.decode($3::text, 'hex')
    and (s.previous_digest is null
      or s.rotation_seen_at <= statement_timestamp() - $6::text::interval
      or s.rotation_seen_at >= statement_timestamp() + $6::text::interval)
    and s.id = (
      select l.id from coatcheck.sessions l
      where l.id = $2::text::uuid
      for no key update skip locked
    )
  returning s.*, clock.now
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.digest = pg_catalog.decode($7::text, 'hex')
    and s.previous_digest = pg_catalog.decode($3::text, 'hex')
    and s.rotation_salt = pg_catalog.decode($8::text, 'hex')
    and s.authenticated_at = (
      select o.authenticated_at from coatcheck.sessions o where o.id = $2::text::uuid
    )
    and s.revoked_at is null
    and s.expires_at > greatest(s.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.user_id is not distinct from (
      select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid
    ))::text as is_intact
from s;

-- REAUTHENTICATE
--
-- Records that the user has proved their identity: both timeouts start again, with a secret that is not
-- derived from the old one. An imported session may have been created in the future, and so after its new
-- deadline: then it is created now. A guest has no identity to prove. Locks the row.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $4 absoluteTimeout; $5 idleTimeout; $6
-- rotationGrace; $7 digest of the new secret.
with s as (
  update coatcheck.sessions s
  set digest = pg_catalog.decode($7::text, 'hex'),
    previous_digest = null,
    rotation_salt = null,
    rotated_at = null,
    rotation_seen_at = null,
    created_at = least(s.created_at, statement_timestamp()),
    authenticated_at = statement_timestamp(),
    expires_at = statement_timestamp() + $4::text::interval,
    last_seen_at = statement_timestamp()
  from (select statement_timestamp() as now) clock
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and s.user_id is not null
  returning s.*, clock.now
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.digest = pg_catalog.decode($7::text, 'hex') and s.previous_digest is null
    and s.authenticated_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.revoked_at is null
    and s.expires_at > greatest(s.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.user_id is not distinct from (
      select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid
    ))::text as is_intact
from s;

-- UPDATE
--
-- Merges keys into the data, if it has the version that the caller has read. Locks the row.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $4 absoluteTimeout; $5 idleTimeout; $6
-- rotationGrace; $7 the keys to remove; $8 what to set; $9 the version, or null for any.
with s as (
  update coatcheck.sessions s
  set data = (s.data || $8::text::jsonb) - $7::text::text[],
    version = s.version + 1,
    rotation_seen_at = case
      when s.digest = pg_catalog.decode($3::text, 'hex') and s.previous_digest is not null
        and s.rotation_seen_at is null then clock.now
      else s.rotation_seen_at
    end,
    last_seen_at = clock.now
  from (select statement_timestamp() as now) clock
  where s.id = $2::text::uuid
    and (s.digest = pg_catalog.decode($3::text, 'hex')
      or s.previous_digest = pg_catalog.decode($3::text, 'hex')
        and (s.rotation_seen_at is null
          or s.rotation_seen_at > statement_timestamp() - $6::text::interval
            and s.rotation_seen_at < statement_timestamp() + $6::text::interval))
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and (s.user_id is null or exists (
      select from coatcheck.users u where u.id = s.user_id and u.username is not null offset 0
    ))
    and ($9::text is null or s.version = $9::text::integer)
    and octet_length(((s.data || $8::text::jsonb) - $7::text::text[])::text) <= 131072
  returning s.*, clock.now
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
    and s.authenticated_at = (
      select o.authenticated_at from coatcheck.sessions o where o.id = $2::text::uuid
    )
    and s.revoked_at is null
    and s.expires_at > greatest(s.now, s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between s.now - interval '1 second'
      and s.now + interval '1 second'
    and s.user_id is not distinct from (
      select o.user_id from coatcheck.sessions o where o.id = $2::text::uuid
    ))::text as is_intact
from s;

-- EXPLAIN
--
-- Reads why a write changed nothing. Locks the row for share, so that a pool which sends reads to a replica
-- cannot answer from one that has not seen the change.
--
-- $1 the call; $2 id; $3 digest of the presented secret.
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.revoked_at is not null)::text as is_revoked,
  s.revoked_reason as reason,
  (s.previous_digest is not null)::text as is_rotated,
  extract(epoch from s.rotated_at)::text as rotated,
  extract(epoch from s.rotation_seen_at)::text as rotation_seen,
  pg_is_in_recovery()::text as is_standby,
  (s.digest = pg_catalog.decode($3::text, 'hex'))::text as is_current,
  pg_catalog.encode(s.digest, 'hex') as digest,
  pg_catalog.encode(s.rotation_salt, 'hex') as salt
from coatcheck.sessions s
where s.id = $2::text::uuid
  and pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
for share of s;

-- EXPLAIN_DUE
--
-- EXPLAIN within a validation: skips a row that another statement holds.
--
-- $1 to $3 as in EXPLAIN.
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.revoked_at is not null)::text as is_revoked,
  s.revoked_reason as reason,
  (s.previous_digest is not null)::text as is_rotated,
  extract(epoch from s.rotated_at)::text as rotated,
  extract(epoch from s.rotation_seen_at)::text as rotation_seen,
  pg_is_in_recovery()::text as is_standby,
  (s.digest = pg_catalog.decode($3::text, 'hex'))::text as is_current,
  pg_catalog.encode(s.digest, 'hex') as digest,
  pg_catalog.encode(s.rotation_salt, 'hex') as salt
from coatcheck.sessions s
where s.id = $2::text::uuid
  and pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
for share of s skip locked;

-- EXPLAIN_UPDATE
--
-- Reads why an update of the data changed nothing. Locks the row for share, as EXPLAIN does.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $7 the keys to remove; $8 what to set.
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.revoked_at is not null)::text as is_revoked,
  s.revoked_reason as reason,
  (s.previous_digest is not null)::text as is_rotated,
  extract(epoch from s.rotated_at)::text as rotated,
  extract(epoch from s.rotation_seen_at)::text as rotation_seen,
  pg_is_in_recovery()::text as is_standby,
  (s.digest = pg_catalog.decode($3::text, 'hex'))::text as is_current,
  octet_length(((s.data || $8::text::jsonb) - $7::text::text[])::text)::text as size
from coatcheck.sessions s
where s.id = $2::text::uuid
  and pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
for share of s;

-- LIST
--
-- Lists the live sessions of a user, the last used first. Takes no lock.
--
-- $1 the call; $2 the user's key; $3 how many; $4 absoluteTimeout; $5 idleTimeout; $6 the id
-- of the session to continue after, or null.
with asked as materialized (
  select r.user_id
  from pg_catalog.jsonb_populate_record(null::coatcheck.sessions,
    pg_catalog.jsonb_build_object('user_id', $2::text)) r
), before as materialized (
  select o.last_seen_at
  from coatcheck.sessions o
  where o.id = $6::text::uuid and o.user_id = (select a.user_id from asked a)
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data
from coatcheck.sessions s
where (select a.user_id from asked a) is not null
  and s.user_id = (select a.user_id from asked a)
  and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and s.authenticated_at > statement_timestamp() - $4::text::interval
    and s.authenticated_at < statement_timestamp() + $4::text::interval
    and s.last_seen_at > statement_timestamp() - $5::text::interval
    and s.last_seen_at < statement_timestamp() + $5::text::interval
    and s.expires_at > greatest(s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
  and exists (select from coatcheck.users u where u.id = s.user_id and u.username is not null)
  and ($6::text is null
    or s.last_seen_at < (select b.last_seen_at from before b)
    or s.last_seen_at = (select b.last_seen_at from before b) and s.id > $6::text::uuid)
order by s.last_seen_at desc, s.id
limit $3::text::bigint;

-- REVOKE
--
-- Revokes the session of a presented token, also one that this policy calls idle or expired: another policy
-- may call it live. Locks the row. If the server does not wait for its log (synchronous_commit is off), a
-- crash could revive the session, so this transaction waits; a stronger setting stays as it is. The setting
-- is read beside the row, and so on its shard. If the session was not revoked before and is not revoked by
-- this, a row without a session is returned, for FIND_UNREVOKED.
--
-- $1 the call; $2 id; $3 digest of the presented secret; $4 reason.
with durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  from coatcheck.sessions d
  where d.id = $2::text::uuid and pg_catalog.current_setting('synchronous_commit') = 'off'
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = $4::text
  where s.id = $2::text::uuid
    and pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest)
    and s.revoked_at is null
    and (select count(*) from durable) >= 0
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (
    select case when count(*) = 1 then min(u.username::text) end
    from coatcheck.users u
    where u.id = s.user_id
  ) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  case when pg_catalog.jsonb_typeof(s.data) = 'object' then s.data::text else '{}' end as data,
  extract(epoch from s.revoked_at)::text as revoked,
  s.revoked_reason as reason
from coatcheck.sessions o
left join s on true
where o.id = $2::text::uuid
  and pg_catalog.decode($3::text, 'hex') in (o.digest, o.previous_digest)
  and o.revoked_at is null;

-- REVOKE_REUSED
--
-- Revokes the session of a reused secret, also if it was rotated since it was evaluated; but not if the user
-- has reauthenticated since, which has locked the other party out. Locks the row.
--
-- $1 the call; $2 id; $3 when the user last proved their identity, as the evaluation read it.
with durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  from coatcheck.sessions d
  where d.id = $2::text::uuid and pg_catalog.current_setting('synchronous_commit') = 'off'
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'reused'
  where s.id = $2::text::uuid
    and extract(epoch from s.authenticated_at at time zone 'utc') = $3::text::numeric
    and s.revoked_at is null
    and (select count(*) from durable) >= 0
  returning s.id, s.revoked_at
)
select $1::text as call, s.id::text as id from s where s.revoked_at is not null;

-- FIND_UNREVOKED
--
-- Reads whether a session that a revocation did not change is neither revoked nor past its deadline: a
-- trigger may have kept the row as it was, or a policy of row-level security may hide it from writes. So
-- the row is locked for share, as EXPLAIN does, but read without the lock, which a policy may
-- hide too.
--
-- $1 the call; $2 id; $3 digest of the presented secret, or null for any; $4 when the user last proved their
-- identity, or null for any.
with locked as materialized (
  select l.id from coatcheck.sessions l where l.id = $2::text::uuid for share of l
)
select $1::text as call, s.id::text as id
from coatcheck.sessions s
where s.id = $2::text::uuid
  and ($3::text is null or pg_catalog.decode($3::text, 'hex') in (s.digest, s.previous_digest))
  and ($4::text is null
    or extract(epoch from s.authenticated_at at time zone 'utc') = $4::text::numeric)
  and s.revoked_at is null
  and s.expires_at > statement_timestamp()
  and (select count(*) from locked) >= 0;

-- REVOKE_MANY
--
-- Revokes live sessions of users, up to 10,000. Locks them, and skips those that another statement holds: it
-- does not wait with a lock, in a deadlock. A session that was not changed is returned without its
-- user, for REVOKE_SKIPPED. `offset 0` keeps the planner on the index however many users it expects. All keys
-- are read first, so that a key that no user can have fails by itself.
--
-- $1 the call; $2 the users' keys, as JSON; $3 the one session to revoke, or null; $4 the one to keep, or
-- null; $5 reason.
with asked as materialized (
  select distinct r.user_id
  from jsonb_array_elements($2::text::jsonb) k(value)
  cross join lateral pg_catalog.jsonb_populate_record(null::coatcheck.sessions,
    pg_catalog.jsonb_build_object('user_id', k.value)) r
), durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  where pg_catalog.current_setting('synchronous_commit') = 'off'
), live as materialized (
  select t.id
  from asked
  cross join lateral (
    select t.id, t.expires_at
    from coatcheck.sessions t
    where t.user_id = asked.user_id and t.revoked_at is null
    offset 0
  ) t
  where ($3::text is null or t.id = $3::text::uuid)
    and ($4::text is null or t.id <> $4::text::uuid)
    and t.expires_at > statement_timestamp()
  limit 10000
), held as materialized (
  select h.id
  from coatcheck.sessions h
  where h.id = any(array(select l.id from live l)) and h.revoked_at is null
  order by h.id
  for no key update of h skip locked
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = $5::text
  where s.id = any(array(select h.id from held h))
    and (select count(*) from asked) > 0
    and (select count(*) from durable) >= 0
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (
    select case when count(*) = 1 then min(u.username::text) end
    from coatcheck.users u
    where u.id = s.user_id
  ) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  case when pg_catalog.jsonb_typeof(s.data) = 'object' then s.data::text else '{}' end as data,
  extract(epoch from s.revoked_at)::text as revoked,
  s.revoked_reason as reason
from s
union all
select $1::text, l.id::text, null, null, null, null, null, null, null, null, null, null, null, null
from live l
where l.id not in (select s.id from s);

-- REVOKE_SKIPPED
--
-- Revokes one session that REVOKE_MANY has skipped. Locks the row, and waits for it with no other lock.
--
-- $1 the call; $2 id; $3 reason.
with durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  where pg_catalog.current_setting('synchronous_commit') = 'off'
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = $3::text
  where s.id = $2::text::uuid
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and (select count(*) from durable) >= 0
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (
    select case when count(*) = 1 then min(u.username::text) end
    from coatcheck.users u
    where u.id = s.user_id
  ) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  case when pg_catalog.jsonb_typeof(s.data) = 'object' then s.data::text else '{}' end as data,
  extract(epoch from s.revoked_at)::text as revoked,
  s.revoked_reason as reason
from s;

-- REVOKE_MANY_UNLOCKED
--
-- REVOKE_MANY for a server that cannot lock many rows (Citus), which detects deadlocks between
-- shards itself.
--
-- $1 to $5 as in REVOKE_MANY.
with asked as materialized (
  select distinct r.user_id
  from jsonb_array_elements($2::text::jsonb) k(value)
  cross join lateral pg_catalog.jsonb_populate_record(null::coatcheck.sessions,
    pg_catalog.jsonb_build_object('user_id', k.value)) r
), durable as materialized (
  select pg_catalog.set_config('synchronous_commit', 'on', true)
  where pg_catalog.current_setting('synchronous_commit') = 'off'
), s as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = $5::text
  where s.user_id = any(array(select a.user_id from asked a))
    and ($3::text is null or s.id = $3::text::uuid)
    and ($4::text is null or s.id <> $4::text::uuid)
    and s.revoked_at is null
    and s.expires_at > statement_timestamp()
    and (select count(*) from durable) >= 0
  returning s.*
)
select $1::text as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (
    select case when count(*) = 1 then min(u.username::text) end
    from coatcheck.users u
    where u.id = s.user_id
  ) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  case when pg_catalog.jsonb_typeof(s.data) = 'object' then s.data::text else '{}' end as data,
  extract(epoch from s.revoked_at)::text as revoked,
  s.revoked_reason as reason
from s;

-- SWEEP
--
-- Deletes the dead rows in a range of the table's blocks. It goes by block, as no index has these instants:
-- each touch would have to update it. Locks the rows; skips one that another statement holds. The condition
-- stands twice, so that a row that changed before it was locked is not deleted.
--
-- $1 the call; $2 the first block; $3 the block after the last; $4 retention; $5 idleTimeout, or null; $6
-- idleTimeout of guests.
with dead as (
  select s.ctid
  from coatcheck.sessions s
  where s.ctid >= $2::text::tid and s.ctid < $3::text::tid
    and (s.revoked_at <= statement_timestamp() - $4::text::interval
    or s.revoked_at is null
      and (s.expires_at <= statement_timestamp()
        or s.user_id is not null and s.last_seen_at <= statement_timestamp() - $5::text::interval
        or s.user_id is null and s.last_seen_at <= statement_timestamp() - $6::text::interval))
  for update of s skip locked
), swept as (
  delete from coatcheck.sessions s
  where s.ctid = any(array(select d.ctid from dead d))
    and (s.revoked_at <= statement_timestamp() - $4::text::interval
    or s.revoked_at is null
      and (s.expires_at <= statement_timestamp()
        or s.user_id is not null and s.last_seen_at <= statement_timestamp() - $5::text::interval
        or s.user_id is null and s.last_seen_at <= statement_timestamp() - $6::text::interval))
  returning s.id
)
select $1::text as call,
  (select count(*) from swept)::text as swept,
  (pg_catalog.pg_relation_size('coatcheck.sessions'::regclass)
    / pg_catalog.current_setting('block_size')::bigint)::text as blocks;

-- FIND_DEAD
--
-- Reads a range of keys, for a server without block ranges (Citus): the dead rows, and the last row. Takes no
-- lock.
--
-- $1 the call; $2 the id to continue after; $3 how many rows; $4 retention; $5 idleTimeout, or null; $6
-- idleTimeout of guests.
with page as (
  select s.id, (s.revoked_at <= statement_timestamp() - $4::text::interval
    or s.revoked_at is null
      and (s.expires_at <= statement_timestamp()
        or s.user_id is not null and s.last_seen_at <= statement_timestamp() - $5::text::interval
        or s.user_id is null and s.last_seen_at <= statement_timestamp() - $6::text::interval)) as dead
  from coatcheck.sessions s
  where s.id > $2::text::uuid
  order by s.id
  limit $3::text::bigint
)
select $1::text as call, p.id::text as id, coalesce(p.dead, false)::text as dead
from page p
where p.dead or p.id = (select l.id from page l order by l.id desc limit 1)
order by p.id;

-- DELETE_DEAD
--
-- Deletes these rows if they are still dead. Locks them.
--
-- $1 the call; $2 their ids; $4 retention; $5 idleTimeout, or null; $6
-- idleTimeout of guests.
with swept as (
  delete from coatcheck.sessions s
  where s.id = any($2::text::uuid[])
    and (s.revoked_at <= statement_timestamp() - $4::text::interval
    or s.revoked_at is null
      and (s.expires_at <= statement_timestamp()
        or s.user_id is not null and s.last_seen_at <= statement_timestamp() - $5::text::interval
        or s.user_id is null and s.last_seen_at <= statement_timestamp() - $6::text::interval))
  returning s.id
)
select $1::text as call, (select count(*) from swept)::text as swept;

-- VALIDATE_MANY
--
-- VALIDATE for many calls: each row has the number of its call. `offset 0` keeps the planner on
-- the index of a small table too.
--
-- $1 the calls, as a JSON array of arrays: the values $1 to $3 of each.
select c.value ->> 0 as call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  extract(epoch from statement_timestamp())::text as clock,
  (s.revoked_at is not null)::text as is_revoked,
  s.revoked_reason as reason,
  (s.previous_digest is not null)::text as is_rotated,
  extract(epoch from s.rotated_at)::text as rotated,
  extract(epoch from s.rotation_seen_at)::text as rotation_seen,
  pg_is_in_recovery()::text as is_standby,
  s.is_current::text as is_current
from jsonb_array_elements($1::text::jsonb) c(value)
cross join lateral (
  select s.*, s.digest = pg_catalog.decode(c.value ->> 2, 'hex') as is_current
  from coatcheck.sessions s
  where s.id = (c.value ->> 1)::uuid
    and pg_catalog.decode(c.value ->> 2, 'hex') in (s.digest, s.previous_digest)
  offset 0
) s;

-- CREATE_MANY
--
-- CREATE for many calls: all are stored, or none.
--
-- $1 the calls, as a JSON array of arrays: the values $1 to $7 of each.
with given as materialized (
  select c.value ->> 0 as call,
    (c.value ->> 2)::uuid as id,
    pg_catalog.decode(c.value ->> 3, 'hex') as digest,
    statement_timestamp() as created_at,
    statement_timestamp() + (c.value ->> 4)::interval as expires_at,
    (c.value ->> 5)::boolean as persistent,
    (c.value ->> 6)::jsonb as data,
    (
      select u.id
      from coatcheck.users u
      where u.username = (select asked.username from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('username', c.value ->> 1)) asked)
    ) as user_id
  from (
    select case
      when pg_catalog.current_setting('lock_timeout')::interval not between '1 ms' and '20 ms'
      then pg_catalog.set_config('lock_timeout', '20', true)
    end
    offset 0
  ) impatient
  cross join jsonb_array_elements($1::text::jsonb) c(value)
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select g.id, g.user_id, g.digest, g.created_at, least(g.created_at, statement_timestamp()),
    statement_timestamp(), g.expires_at, g.persistent, g.data
  from given g
  where g.user_id is not null
  returning s.*
)
select g.call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = g.digest and s.user_id = g.user_id
    and (g.expires_at <= statement_timestamp()
      or s.authenticated_at >= least(g.created_at, statement_timestamp() - interval '1 second')
    and s.revoked_at is null
    and s.expires_at > greatest(statement_timestamp(), s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between statement_timestamp() - interval '1 second'
      and statement_timestamp() + interval '1 second'))::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus
from given g
left join s on s.id = g.id
where g.user_id is not null;

-- INSERT_MANY
--
-- INSERT for many calls: all are stored, or none.
--
-- $1 the calls, as a JSON array of arrays: the values $1 to $9 of each.
with given as materialized (
  select c.value ->> 0 as call,
    (c.value ->> 2)::uuid as id,
    pg_catalog.decode(c.value ->> 3, 'hex') as digest,
    coalesce((c.value ->> 7)::timestamptz, statement_timestamp()) as created_at,
    coalesce((c.value ->> 8)::timestamptz, statement_timestamp() + (c.value ->> 4)::interval) as expires_at,
    (c.value ->> 5)::boolean as persistent,
    (c.value ->> 6)::jsonb as data,
    (
      select u.id
      from coatcheck.users u
      where u.id = (select asked.id from pg_catalog.jsonb_populate_record(null::coatcheck.users,
        pg_catalog.jsonb_build_object('id', c.value ->> 1)) asked) and u.username is not null
    ) as user_id
  from (
    select case
      when pg_catalog.current_setting('lock_timeout')::interval not between '1 ms' and '20 ms'
      then pg_catalog.set_config('lock_timeout', '20', true)
    end
    offset 0
  ) impatient
  cross join jsonb_array_elements($1::text::jsonb) c(value)
), s as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select g.id, g.user_id, g.digest, g.created_at, least(g.created_at, statement_timestamp()),
    statement_timestamp(), g.expires_at, g.persistent, g.data
  from given g
  where g.user_id is not null
  returning s.*
)
select g.call,
  s.id::text as id,
  s.user_id::text as user_id,
  pg_catalog.pg_typeof(s.user_id)::text as user_id_type,
  (select u.username::text from coatcheck.users u where u.id = s.user_id) as username,
  extract(epoch from s.created_at)::text as created,
  extract(epoch from s.authenticated_at)::text as authenticated,
  extract(epoch from s.last_seen_at)::text as last_seen,
  extract(epoch from s.expires_at)::text as expires,
  s.persistent::text as persistent,
  s.version::text as version,
  s.data::text as data,
  (s.digest = g.digest and s.user_id = g.user_id
    and (g.expires_at <= statement_timestamp()
      or s.authenticated_at >= least(g.created_at, statement_timestamp() - interval '1 second')
    and s.revoked_at is null
    and s.expires_at > greatest(statement_timestamp(), s.created_at, s.authenticated_at, s.last_seen_at)
    and isfinite(s.created_at) and isfinite(s.expires_at)
    and pg_catalog.jsonb_typeof(s.data) = 'object'
    and s.last_seen_at between statement_timestamp() - interval '1 second'
      and statement_timestamp() + interval '1 second'))::text as is_intact,
  (pg_catalog.current_setting('citus.shard_count', true) is not null)::text as is_citus
from given g
left join s on s.id = g.id
where g.user_id is not null;

-- PROBE
--
-- Asks how far the transactions have come, and sends a beat to all that listen, if told to. `xmax` is one
-- more than the newest transaction that has ended, so a beat of that one or a later one is committed
-- afterwards. As each server and database has transactions of its own, `server` names both.
--
-- `triggers` is a fingerprint of the triggers, which changes if one of them is switched off and on again;
-- null if one is missing. On the connection that listens, it sends nothing and returns no row: behind a
-- pooler, a beat comes back there while other notifications are lost. pg_notification_queue_usage also
-- frees what all have read: without it, a queue that was full stays full.
--
-- $1 the call; $2 `beat`, or null.
select $1::text as call,
  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text as xmax,
  here.server,
  pg_catalog.pg_notification_queue_usage()::text as queue_usage,
  (
    select case when count(*) = 3 then
      pg_catalog.string_agg(t.oid::text || ':' || t.xmin::text || ':' || p.xmin::text, ' ' order by t.oid)
    end
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = pg_catalog.to_regclass('coatcheck.sessions')::oid
      and p.oid = pg_catalog.to_regprocedure('coatcheck.notify()')::oid
      and t.tgenabled = 'A'
  ) as triggers,
  case when $2::text = 'beat' then pg_catalog.pg_notify(
    'coatcheck',
    'beat:' || pg_catalog.pg_current_xact_id()::text || ' ' || here.server
  )::text end as sent
from (
  select extract(epoch from pg_catalog.pg_postmaster_start_time())::text || ' '
    || pg_catalog.current_database()::text as server
) here
where not exists (
  select from pg_catalog.pg_listening_channels() c where c = 'coatcheck'
);

-- FIND_LIVE
--
-- Finds which of some sessions have not ended, with their deadline and the last proof of identity. Takes no
-- lock. One row, which says too what time it is, and whether a standby has answered: it may not know of a
-- session or of its end.
--
-- $1 the call; $2 the session ids, as an array.
select $1::text as call,
  pg_is_in_recovery()::text as is_standby,
  extract(epoch from statement_timestamp())::text as clock,
  (
    select pg_catalog.string_agg(
      pg_catalog.concat_ws(
        ' ', s.id, extract(epoch from s.expires_at), extract(epoch from s.authenticated_at)
      ),
      ','
    )
    from coatcheck.sessions s
    where s.id = any($2::text::uuid[])
      and s.revoked_at is null
      and s.expires_at > statement_timestamp()
  ) as live;
