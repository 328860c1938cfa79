import { type Statement, statement } from "./sql.ts";

/** A session as its row tells it, with what only coatcheck may see. */
export interface SessionRow {
  readonly id: string;
  readonly digest: string;
  readonly userId: string | number;
  readonly username: string | null;
  readonly createdAt: string;
  readonly authenticatedAt: string;
  readonly lastSeenAt: string;
  readonly expiresAt: string;
  readonly persistent: boolean;
  readonly version: number;
  readonly data: object;
}

// One column of JSON text, so that every client agrees on dates, numbers and names. A key of four
// bytes or less is a number in JavaScript; a bigint would be rounded and stays text. The id and the
// digest come back so that the caller can compare them: Bun.SQL before 1.4 could hand over another
// query's row (oven-sh/bun #33665).
const SESSION = `
    'id', s.id,
    'digest', encode(s.digest, 'hex'),
    'userId', case when pg_typeof(s.user_id) in ('smallint'::regtype, 'integer'::regtype)
      then to_json(s.user_id) else to_json(s.user_id::text) end,
    'username', (select u.username::text from coatcheck.users u where u.id = s.user_id limit 1),
    'createdAt', s.created_at,
    'authenticatedAt', s.authenticated_at,
    'lastSeenAt', s.last_seen_at,
    'persistent', s.persistent,
    'version', s.version,
    'data', s.data`;

// Of a username or a key as JSON, every row that it matches, at most two: enough to tell one from
// several. jsonb_populate_record gives the value its column's own type: as text it would find nobody
// by a citext name, and scan the table.
const FOUND = `
asked as (
  select id, username from jsonb_populate_record(null::coatcheck.users, $1::text::jsonb)
), found as (
  select u.id from coatcheck.users u where u.username = (select username from asked)
  union all
  select u.id from coatcheck.users u where u.id = (select id from asked)
  limit 2
)`;

/** What {@linkcode FIND_USER} answers. */
export interface FoundUser {
  readonly matches: number;
  readonly userId: string | number | null;
}

/** The key in the type that sessions keep it in, also of a domain. `$1` the user, as JSON. */
export const FIND_USER: Statement = statement(
  "find the user",
  `with ${FOUND}
select json_build_object(
  'matches', count(*),
  'userId', case when pg_typeof((select user_id from coatcheck.sessions limit 0))
      in ('smallint'::regtype, 'integer'::regtype)
    then to_json(min(id::text)::integer) else to_json(min(id::text)) end
)::text as json
from found`,
);

/** What {@linkcode INSERT} answers: without exactly one match there is no session. */
export interface Inserted {
  readonly matches: number;
  readonly session: SessionRow | null;
}

/**
 * INSERT only: a session that exists already is an error, never somebody else's session.
 *
 * `$1` the user, as JSON; `$2`, `$3` id and digest of the session that this one replaces, or null;
 * `$4`, `$5` id and digest; `$6` created at, null for now; `$7` expires at, or `$8` seconds from now;
 * `$9` persistent; `$10` data, as JSON.
 */
export const INSERT: Statement = statement(
  "store the session",
  `with ${FOUND}, sole as (
  select id from found where (select count(*) from found) = 1
), replaced as (
  update coatcheck.sessions
  set revoked_at = statement_timestamp(), revoked_reason = 'replaced'
  where id = $2::uuid and digest = decode($3, 'hex') and revoked_at is null
    and exists (select from sole)
), given as (
  select $4::uuid as id, decode($5, 'hex') as digest,
    coalesce($6::timestamptz, statement_timestamp()) as created_at,
    coalesce($7::timestamptz, statement_timestamp() + make_interval(secs => $8::integer)) as expires_at,
    $9::boolean as persistent, $10::text::jsonb as data
), inserted as (
  insert into coatcheck.sessions as s
    (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
  select g.id, sole.id, g.digest, g.created_at, g.created_at, statement_timestamp(), g.expires_at,
    g.persistent, g.data
  from given g cross join sole
  returning json_build_object(${SESSION},
    'expiresAt', s.expires_at) as session
)
select json_build_object(
  'matches', (select count(*) from found),
  'session', (select session from inserted)
)::text as json`,
);

// The policy of the moment, applied to one row: the stored deadline is a ceiling that it can only
// lower (CVE-2024-35220).
const LIMITS = `cross join lateral (
  select
    least(s.expires_at, s.authenticated_at + make_interval(secs => $1::integer)) as deadline,
    make_interval(secs => $2::integer) as idle,
    make_interval(secs => $3::integer) as touch
) p`;

/** What {@linkcode VALIDATE} answers. */
export interface ValidatedRow extends SessionRow {
  readonly ended: "revoked" | "expired" | "idle" | null;
  readonly revokedReason: string | null;
  readonly due: boolean;
}

/**
 * Reads, and takes no lock. A wrong secret finds no row, so that a prober learns nothing.
 *
 * `statement_timestamp()`, as `now()` stands still inside a caller's long transaction. `$1`
 * absoluteTimeout, `$2` idleTimeout, `$3` touchInterval or null; `$4`, `$5` id and digest.
 */
export const VALIDATE: Statement = statement(
  "validate the session",
  `select json_build_object(${SESSION},
    'expiresAt', p.deadline,
    'ended', case
      when s.revoked_at is not null then 'revoked'
      when statement_timestamp() >= p.deadline then 'expired'
      when statement_timestamp() >= s.last_seen_at + p.idle then 'idle'
    end,
    'revokedReason', s.revoked_reason,
    'due', coalesce(s.last_seen_at <= statement_timestamp() - p.touch, false)
)::text as json
from coatcheck.sessions s
${LIMITS}
where s.id = $4::uuid and s.digest = decode($5, 'hex')`,
);

/**
 * Notes the use of a session that was due.
 *
 * The conditions are those of {@linkcode VALIDATE} once more: between the two statements somebody may
 * have revoked the session, and a touch must not outlive that. A row that is held by another
 * statement is skipped: its holder is touching it too, or ending it.
 */
export const TOUCH: Statement = statement(
  "touch the session",
  `update coatcheck.sessions s
set last_seen_at = greatest(s.last_seen_at, statement_timestamp())
from (
  select s.id
  from coatcheck.sessions s
  ${LIMITS}
  where s.id = $4::uuid and s.digest = decode($5, 'hex') and s.revoked_at is null
    and statement_timestamp() < p.deadline
    and statement_timestamp() < s.last_seen_at + p.idle
    and s.last_seen_at <= statement_timestamp() - p.touch
  for no key update of s skip locked
) due
where s.id = due.id
returning to_json(s.last_seen_at)::text as json`,
);

/** What {@linkcode REVOKE} answers for each session that it ended. */
export interface RevokedRow extends SessionRow {
  readonly revokedAt: string;
  readonly revokedReason: string;
}

/**
 * Ends a session, also one that some policy would call idle or expired: another may not.
 *
 * `$1` reason; `$2`, `$3` id and digest.
 */
export const REVOKE: Statement = statement(
  "revoke the session",
  `update coatcheck.sessions s
set revoked_at = statement_timestamp(), revoked_reason = $1::text
where s.id = $2::uuid and s.digest = decode($3, 'hex') and s.revoked_at is null
returning json_build_object(${SESSION},
    'expiresAt', s.expires_at,
    'revokedAt', s.revoked_at,
    'revokedReason', s.revoked_reason
)::text as json`,
);
