import {
  answer,
  epoch,
  escaped,
  instant,
  object,
  orNull,
  type Pairs,
  quoted,
  type Statement,
  statement,
} from "./sql.ts";

/** Seconds since 1970: as text where a row tells it, which may be "Infinity", and else as a number. */
export type Instant = string | number;

/** A session as its row tells it. */
export interface SessionRow {
  readonly id: string;
  readonly userId: string | number;
  readonly username: string | null;
  readonly createdAt: Instant;
  readonly authenticatedAt: Instant;
  readonly lastSeenAt: Instant;
  readonly expiresAt: Instant;
  readonly persistent: boolean;
  readonly version: number;
  readonly data: object;
}

// Every statement answers with one column of JSON text, so that every client agrees on dates, numbers
// and names. A key of four bytes or less is a number in JavaScript; a bigint would be rounded and stays
// text.
const key = (sql: string, typed = sql, cast = "") => `
  case when pg_catalog.pg_typeof(${typed}) in ('smallint'::regtype, 'integer'::regtype)
    then ${sql}${cast}::text else pg_catalog.to_json(${sql}::text)::text end`;

// Of a row `s`.
const session = (username: string, expiresAt: string): Pairs => ({
  id: quoted("s.id"),
  userId: key("s.user_id"),
  username: escaped(username),
  createdAt: instant("s.created_at"),
  authenticatedAt: instant("s.authenticated_at"),
  lastSeenAt: instant("s.last_seen_at"),
  expiresAt: instant(expiresAt),
  persistent: "s.persistent::text",
  version: "s.version",
  data: "s.data",
});

const digest = (sql: string) => quoted(`encode(${sql}, 'hex')`);

const NOW = epoch("statement_timestamp()");

const usernameOf = (row: string) =>
  `(select u.username::text from coatcheck.users u where u.id = ${row}.user_id limit 1)`;

// What the policy of the moment says about a row: the stored deadline is a ceiling that it can only
// lower (CVE-2024-35220). Nobody's session lasts for ever: an instant that is not finite ends it. The
// clock is statement_timestamp(), as now() stands still inside a caller's long transaction.
const deadline = (row: string, absolute: string) =>
  `least(${row}.expires_at, ${row}.authenticated_at + ${absolute})`;
const ended = (row: string, deadline: string, idle: string) => `
  case
    when ${row}.revoked_at is not null then 'revoked'
    when statement_timestamp() >= ${deadline} then 'expired'
    when statement_timestamp() >= ${row}.last_seen_at + ${idle} then 'idle'
    when not (isfinite(${row}.created_at) and isfinite(${row}.authenticated_at)
      and isfinite(${row}.last_seen_at) and isfinite(${row}.expires_at)) then 'expired'
  end`;

// Where the values of a statement are: its own parameters; or, for many calls in one statement, the
// elements of a JSON array for each, of which `e` is one. All but numbers travel as text, as an app may have
// given its client ways of its own to write a timestamptz, a uuid or a boolean.
type Place = (number: number) => string;
const ownPlace: Place = (number) => `$${number}`;
const elementPlace: Place = (number) => `(e.call ->> ${number})`;
const CALLS = "jsonb_array_elements($1::text::jsonb) e(call)";
const seconds = (value: string) => `pg_catalog.make_interval(secs => ${value}::integer)`;

// ── The way in ──────────────────────────────────────────────────────────────────────────────────────

// The key of the one user whom a name or a key means, as JSON: a look-up that finds two fails. Both are
// tried, as whoever is asked for by a key has no name here; a row without a name is nobody, as its
// sessions would be. jsonb_populate_record gives the value its column's own type: as text it would find
// nobody by a citext name, and scan the table.
const keyOfUser = (person: string) => {
  const asked = `pg_catalog.jsonb_populate_record(null::coatcheck.users, ${person}) asked`;
  return `coalesce(
      (select u.id from ${asked} join coatcheck.users u on u.username = asked.username),
      (select u.id from ${asked} join coatcheck.users u on u.id = asked.id
        where u.username is not null))`;
};

/** What {@linkcode FIND_USER} answers, if the user was found. */
export interface FoundUser {
  readonly userId: string | number;
}

/** The key in the type that sessions keep it in, also of a domain. `$1` the user, as JSON. */
export const FIND_USER: Statement = statement(
  "find the user",
  `select ${
    answer({ userId: key("found.id", "(null::coatcheck.sessions).user_id", "::text::integer") })
  }
from (
  select ${keyOfUser("p.person")} as id from (select $1::text::jsonb as person) p
) found
where found.id is not null`,
);

/** A session that was ended by another one. */
export interface EndedRow {
  readonly id: string;
  readonly userId: string | number;
}

/** What {@linkcode INSERT} and {@linkcode REPLACE} answer, if the user was found. */
export interface InsertedRow extends SessionRow {
  readonly digest: string;
  readonly replaced?: EndedRow | null;
}

// What is to be stored, and whose it is. `replacing`: also which session it ends.
const given = (at: Place, replacing = false, source = "") => `
with given as materialized (
  select ${at(0)}::text as call,${
  replacing
    ? `
    ${at(9)}::text::uuid as replaced_id, decode(${at(10)}, 'hex') as replaced_digest,`
    : ""
}
    ${at(2)}::text::uuid as id, decode(${at(3)}, 'hex') as digest,
    coalesce(${at(4)}::text::timestamptz, statement_timestamp()) as created_at,
    coalesce(${at(5)}::text::timestamptz, statement_timestamp() + ${seconds(at(6))}) as expires_at,
    ${at(7)}::text::boolean as persistent, ${at(8)}::text::jsonb as data,
    ${keyOfUser("p.person")} as user_id
  from ${source}lateral (select ${at(1)}::text::jsonb as person) p
)`;

// The array keeps the planner on the index, where it would rather read the whole of a small table.
const REPLACED = `replaced as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = 'replaced'
  from given g
  where s.id = any(array(select o.replaced_id from given o))
    and s.id = g.replaced_id and g.replaced_digest in (s.digest, s.previous_digest)
    and s.revoked_at is null and g.user_id is not null
  returning s.id, s.user_id, g.id as heir
)`;

const INSERTION = `insert into coatcheck.sessions as s
  (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
select g.id, g.user_id, g.digest, g.created_at, least(g.created_at, statement_timestamp()),
  statement_timestamp(), g.expires_at, g.persistent, g.data
from given g
where g.user_id is not null`;

const INSERTED: Pairs = {
  ...session(usernameOf("s"), "s.expires_at"),
  digest: digest("s.digest"),
};
const REPLACEMENT: Pairs = {
  replaced: orNull(`(
    select ${
    object({ id: "r.id", userId: `(${key("r.user_id")})::json` })
  } from replaced r where r.heir = s.id
  )`),
};

/**
 * INSERT only: a session that exists already is an error, never somebody else's session. Without one
 * user there is no session: it answers nothing where there is none, and fails where there are two.
 *
 * `$1` the user, as JSON; `$2`, `$3` id and digest; `$4` created at, null for now; `$5` expires at, or
 * `$6` seconds from now; `$7` persistent; `$8` data, as JSON.
 */
export const INSERT: Statement = statement(
  "store the session",
  `${given(ownPlace)}
${INSERTION}
returning ${answer(INSERTED)}`,
);

/**
 * The same, and ends the session of a presented token with it: a statement of its own, as most sign-ins
 * come without one.
 *
 * `$1` to `$8` as above; `$9`, `$10` id and digest of the session that this one replaces.
 */
export const REPLACE: Statement = statement(
  INSERT.purpose,
  `${given(ownPlace, true)}, ${REPLACED}
${INSERTION}
returning ${answer({ ...INSERTED, ...REPLACEMENT })}`,
);

/**
 * Ends the sessions of one user beyond a number of live ones, those first that were not used for
 * longest, and never the one that was just made.
 *
 * A statement of its own, so that it sees what was inserted beside it. It locks every live session of
 * the user, so that of two that run at once the second finds what the first has ended: they never end
 * each other's, and the last one leaves no more than the number. Within transactions of the caller's
 * that overlap, neither sees what the other has inserted.
 *
 * `$1` the id just made; `$2` absoluteTimeout, `$3` idleTimeout; `$4` the number.
 */
export const LIMIT: Statement = statement(
  "limit the sessions",
  `with own as (
  select $1::text::uuid as id, ${seconds("$2")} as absolute, ${seconds("$3")} as idle
), held as (
  select s.id, s.last_seen_at from coatcheck.sessions s, own
  where s.user_id = (select o.user_id from coatcheck.sessions o where o.id = (select id from own))
    and ${ended("s", deadline("s", "own.absolute"), "own.idle")} is null
  order by s.id for no key update of s
), excess as (
  select h.id from held h, own order by h.id = own.id desc, h.last_seen_at desc, h.id desc
  offset $4::integer
)
update coatcheck.sessions s
set revoked_at = statement_timestamp(), revoked_reason = 'limit'
where s.id = any(array(select id from excess))
returning ${answer({ id: quoted("s.id"), userId: key("s.user_id") })}`,
);

// ── Who is it ───────────────────────────────────────────────────────────────────────────────────────

/** What {@linkcode VALIDATE} answers: what its row holds, for the policy of the moment to judge. */
export interface FoundRow extends SessionRow {
  readonly digest: string;
  /** The database's clock. */
  readonly now: Instant;
  /** What a row has only once it was revoked or rotated. */
  readonly past: Past | null;
}

/** What has happened to a session. Instants as above; null for what has not. */
export interface Past {
  readonly revoked: boolean;
  readonly revokedReason: string | null;
  readonly previousDigest: string | null;
  readonly rotatedAt: Instant | null;
  readonly rotationSeenAt: Instant | null;
}

const PAST = object({
  revoked: "s.revoked_at is not null",
  revokedReason: "s.revoked_reason",
  previousDigest: "encode(s.previous_digest, 'hex')",
  rotatedAt: epoch("s.rotated_at"),
  rotationSeenAt: epoch("s.rotation_seen_at"),
});

const validation = (at: Place, from = (rows: string) => `from ${rows}`, prefix = "") => `
select ${prefix}${
  answer({
    ...session(usernameOf("s"), "s.expires_at"),
    digest: digest("s.digest"),
    now: quoted(NOW),
    past: orNull(`case when s.revoked_at is not null or s.rotated_at is not null then ${PAST} end`),
  }, `${at(0)}::text`)
}
${
  from(`coatcheck.sessions s
where s.id = ${at(1)}::text::uuid and decode(${at(2)}, 'hex') in (s.digest, s.previous_digest)`)
}`;

/**
 * Reads, takes no lock, and judges nothing: what it finds is judged beside the policy, in
 * `judgement.ts`, as each expression here would cost a server more than all of them cost there. A secret
 * that is neither the current nor the previous one finds no row, so that a prober learns nothing.
 *
 * `$1`, `$2` id and digest.
 */
export const VALIDATE: Statement = statement("validate the session", validation(ownPlace));

/** What every statement about a presented token answers that judges it. */
export interface PresentedRow extends SessionRow {
  /** The digest in the row that the presented one equalled, as hexadecimal digits. */
  readonly digest: string;
  /** Why there is no session for it, although its secret is right. */
  readonly refusal: "revoked" | "expired" | "idle" | "reused" | "user" | null;
  readonly revokedReason: string | null;
  /** What the statement changed, and when; null where it changed nothing. */
  readonly written?: Written | null;
}

type Written =
  & Pick<SessionRow, "authenticatedAt" | "lastSeenAt" | "expiresAt" | "version" | "data">
  & { readonly now: Instant };

// The session of a presented token, and what is to be said about it, as `judgement.ts` says it.
//
// `$1`, `$2` id and digest; `$3` absoluteTimeout, `$4` idleTimeout, `$5` rotationGrace.
const PRESENTED = `
  select s.*, u.username, a.*, p.deadline, p.is_current, p.is_settled, v.refusal
  from (
    select $1::text::uuid as asked_id, decode($2, 'hex') as asked_digest,
      ${seconds("$3")} as absolute, ${seconds("$4")} as idle, ${seconds("$5")} as grace
  ) a
  join coatcheck.sessions s
    on s.id = a.asked_id and a.asked_digest in (s.digest, s.previous_digest)
  left join lateral (
    select u.username::text as username from coatcheck.users u where u.id = s.user_id limit 1
  ) u on true
  cross join lateral (
    select ${deadline("s", "a.absolute")} as deadline,
      s.digest = a.asked_digest as is_current,
      s.previous_digest is null
        or coalesce(s.rotation_seen_at + a.grace <= statement_timestamp(), false) as is_settled
  ) p
  cross join lateral (
    select coalesce(${ended("s", "p.deadline", "a.idle")}, case
      when p.is_settled and not p.is_current then 'reused'
      when u.username is null then 'user'
    end) as refusal
  ) v`;

// Of a row `s` of the above.
const JUDGED: Pairs = {
  ...session("s.username", "s.deadline"),
  digest: digest("case when s.is_current then s.digest else s.previous_digest end"),
  refusal: escaped("s.refusal"),
  revokedReason: escaped("s.revoked_reason"),
};
const NEVER_SEEN = "s.previous_digest is not null and s.rotation_seen_at is null";
const FIRST_SIGHT = `s.is_current and ${NEVER_SEEN}`;

/** What {@linkcode TOUCH} answers, if it touched the session. */
export interface TouchedRow {
  readonly lastSeenAt: Instant;
}

/**
 * Notes the use of a session, and the first sight of a rotated secret, where one of the two is due.
 *
 * The conditions are those of the judgement once more: after {@linkcode VALIDATE} somebody may have
 * revoked the session, and a touch must not outlive that. A row that is held by another
 * statement is skipped: its holder is touching it too, or ending it, and else the next use is noted.
 *
 * `$1` to `$5` as above; `$6` touchInterval, or null.
 */
export const TOUCH: Statement = statement(
  "touch the session",
  `with due as (${PRESENTED}
  where v.refusal is null and (
    s.last_seen_at <= statement_timestamp() - ${seconds("$6")}
    or p.is_current and ${NEVER_SEEN})
  for no key update of s skip locked
)
update coatcheck.sessions s
set last_seen_at = greatest(s.last_seen_at, statement_timestamp()),
  rotation_seen_at = case when due.is_current and ${NEVER_SEEN}
    then statement_timestamp() else s.rotation_seen_at end,
  rotation_salt = case when due.is_settled then null else s.rotation_salt end
from due
where s.id = due.id
returning ${answer({ lastSeenAt: instant("s.last_seen_at") })}`,
);

// ── A new secret, new data ──────────────────────────────────────────────────────────────────────────

/** The parts of a statement that may change the session of a presented token. */
interface Change {
  /** What it sets, beside the last use, in a row `w`. */
  readonly set: string;
  /** Where it does, if there is nothing to refuse. */
  readonly where: string;
  /** What it answers of a row `s`, beside what all answer. */
  readonly pairs?: Pairs;
  /** What follows `for no key update of s`. */
  readonly lock?: string;
  /** Further expressions after `with`. */
  readonly expressions?: string;
}

// It locks the row, judges it as it is then, and changes it or not. Nothing comes in between, and
// nobody's older snapshot decides: whoever waited for the lock is judged by what the one before has left.
const change = ({ set, where, pairs = {}, lock = "", expressions = "" }: Change) => `
with s as (${PRESENTED}
  for no key update of s ${lock}
), ${expressions}written as (
  update coatcheck.sessions w
  set ${set},
    last_seen_at = greatest(w.last_seen_at, statement_timestamp())
  from s
  where w.id = s.id and s.refusal is null and ${where}
  returning w.*
)
select ${
  answer({
    ...JUDGED,
    ...pairs,
    written: orNull(`(
    select ${
      object({
        authenticatedAt: epoch("w.authenticated_at"),
        lastSeenAt: epoch("w.last_seen_at"),
        expiresAt: epoch(deadline("w", "s.absolute")),
        version: "w.version",
        data: "w.data",
        now: NOW,
      })
    } from written w
  )`),
  })
}
from s`;

/** What {@linkcode ROTATE} answers. */
export interface RotatedRow extends PresentedRow {
  /** Where the presented secret is the old one: how to make the new one of it. */
  readonly heir: { readonly salt: string; readonly digest: string; readonly now: Instant } | null;
}

const HEIR = orNull(`case when not s.is_current and s.rotation_salt is not null then ${
  object({
    salt: "encode(s.rotation_salt, 'hex')",
    digest: "encode(s.digest, 'hex')",
    now: NOW,
  })
} end`);

const rotation = (lock: string) =>
  statement(
    "rotate the session",
    change({
      set: `previous_digest = w.digest,
    digest = decode($6, 'hex'),
    rotation_salt = decode($7, 'hex'),
    rotated_at = statement_timestamp(),
    rotation_seen_at = null`,
      where: "s.is_current and s.is_settled",
      pairs: { heir: HEIR },
      lock,
    }),
  );

/**
 * Gives a session a new secret, unless the last rotation is not settled: then the pair stays, and
 * whoever presents the old secret is told how to make the new one of it.
 *
 * `$1` to `$5` as above; `$6` the digest of the new secret, `$7` the salt that made it.
 */
export const ROTATE: Statement = rotation("");

/** The same within a validation, which must not wait: a row that somebody holds is rotated next time. */
export const ROTATE_DUE: Statement = rotation("skip locked");

/**
 * Starts a session anew: both timeouts, and a secret that nobody can derive from the one before, so
 * that a thief of that one is out.
 *
 * `$1` to `$5` as above; `$6` the digest of the new secret.
 */
export const REAUTHENTICATE: Statement = statement(
  "reauthenticate the session",
  change({
    set: `digest = decode($6, 'hex'),
    previous_digest = null,
    rotation_salt = null,
    rotated_at = null,
    rotation_seen_at = null,
    authenticated_at = statement_timestamp(),
    expires_at = statement_timestamp() + s.absolute`,
    where: "true",
  }),
);

/** What {@linkcode UPDATE} answers. */
export interface UpdatedRow extends PresentedRow {
  /** The bytes that the merged data would take; null where the version was another. */
  readonly size: number | null;
}

/** The bytes of merged data, as PostgreSQL spells JSON: twice what one call may give. */
export const LARGEST_MERGED = 131_072;

/**
 * Merges keys into the data, if it is still of the version that the caller has seen.
 *
 * `$1` to `$5` as above; `$6` what to set, as JSON; `$7` the keys to remove, as JSON; `$8` the version,
 * or null for any.
 */
export const UPDATE: Statement = statement(
  "update the session",
  change({
    set: `data = (select data from merged),
    version = w.version + 1,
    rotation_seen_at = case when ${FIRST_SIGHT} then statement_timestamp() else w.rotation_seen_at end`,
    where: `(select octet_length(data::text) from merged) <= ${LARGEST_MERGED}`,
    pairs: { size: orNull("(select octet_length(data::text) from merged)::text") },
    expressions: `asked as (
  select $6::text::jsonb as patch, array(select jsonb_array_elements_text($7::text::jsonb)) as removed,
    $8::integer as version
), merged as (
  select (s.data - asked.removed) || asked.patch as data
  from s, asked
  where asked.version is null or asked.version = s.version
), `,
  }),
);

// ── The way out ─────────────────────────────────────────────────────────────────────────────────────

/** What {@linkcode REVOKE} and {@linkcode REVOKE_MANY} answer for each session that they ended. */
export interface RevokedRow extends SessionRow {
  readonly digest: string;
  readonly revokedAt: Instant;
  readonly revokedReason: string;
}

// Where a database does not wait for its log, a crash could bring back who was signed out: this one
// transaction waits. Stronger settings stay as they are.
const DURABLE = `durable as materialized (
  select case when current_setting('synchronous_commit') = 'off'
    then set_config('synchronous_commit', 'on', true) end
)`;

const revoked = (presented: string) => `
select ${
  answer({
    ...session("s.username", "s.expires_at"),
    digest: digest(presented),
    revokedAt: instant("s.revoked_at"),
    revokedReason: escaped("s.revoked_reason"),
  })
}
from (select r.*, ${usernameOf("r")} as username from revoked r cross join durable) s
order by s.id`;

/**
 * Ends the session of a presented token, also one that some policy would call idle or expired: another
 * may not.
 *
 * `$1`, `$2` id and digest; `$3` reason.
 */
export const REVOKE: Statement = statement(
  "revoke the session",
  `with a as (
  select $1::text::uuid as id, decode($2, 'hex') as digest, $3::text as reason
), ${DURABLE}, revoked as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = a.reason
  from a
  where s.id = a.id and a.digest in (s.digest, s.previous_digest) and s.revoked_at is null
  returning s.*, a.digest as presented
)${revoked("case when s.digest = s.presented then s.digest else s.previous_digest end")}`,
);

/**
 * Ends the session of a secret that was reused, whatever it has been rotated to meanwhile; but not one
 * whose user has reauthenticated since it was judged: that has shaken the other party off.
 *
 * `$1` id; `$2` when the user had last proved who they are, as the judgement said.
 */
export const REVOKE_REUSED: Statement = statement(
  "revoke the reused session",
  `with ${DURABLE}
update coatcheck.sessions s
set revoked_at = statement_timestamp(), revoked_reason = 'reused'
from durable
where s.id = $1::text::uuid and ${epoch("s.authenticated_at")} = $2::text::numeric
  and s.revoked_at is null
returning ${answer({ id: quoted("s.id") })}`,
);

/**
 * Ends sessions by their users.
 *
 * In two steps, the second of which locks in the order of ids: without an order, concurrent calls
 * deadlock. `offset 0` keeps the planner on the index however many users it expects. The keys are counted,
 * as one that is nobody's must fail whatever else there is to read.
 *
 * `$1` the users' keys, as JSON; `$2` the one session to end, or null; `$3` the one to leave, or null;
 * `$4` reason.
 */
export const REVOKE_MANY: Statement = statement(
  "revoke the sessions",
  `with asked as (
  select distinct r.user_id
  from jsonb_array_elements($1::text::jsonb) k
  cross join lateral
    pg_catalog.jsonb_populate_record(
      null::coatcheck.sessions, pg_catalog.jsonb_build_object('user_id', k.value)) r
), a as (
  select $2::text::uuid as one, $3::text::uuid as other, $4::text as reason
), ${DURABLE}, held as (
  select s.id from coatcheck.sessions s
  where s.revoked_at is null and s.id = any(array(
    select t.id from asked cross join a cross join lateral (
      select t.id, t.expires_at from coatcheck.sessions t
      where t.user_id = asked.user_id and t.revoked_at is null offset 0
    ) t
    where t.id = coalesce(a.one, t.id) and t.id is distinct from a.other
      and statement_timestamp() < t.expires_at
  ))
  order by s.id for no key update of s
), revoked as (
  update coatcheck.sessions s
  set revoked_at = statement_timestamp(), revoked_reason = a.reason
  from a
  where (select count(user_id) from asked) > 0 and s.id = any(array(select id from held))
  returning s.*
)${revoked("s.digest")}`,
);

/**
 * The live sessions of a user, last used first.
 *
 * `$1` the user's key, as JSON; `$2` absoluteTimeout, `$3` idleTimeout.
 */
export const LIST: Statement = statement(
  "list the sessions",
  `with a as (
  select r.user_id, ${seconds("$2")} as absolute, ${seconds("$3")} as idle
  from pg_catalog.jsonb_populate_record(null::coatcheck.sessions, $1::text::jsonb) r
)
select ${answer(session("s.username", "s.deadline"))}
from (
  select s.*, ${usernameOf("s")} as username, ${deadline("s", "a.absolute")} as deadline
  from coatcheck.sessions s, a
  where (select user_id from a) is not null and s.user_id = (select user_id from a)
    and ${ended("s", deadline("s", "a.absolute"), "a.idle")} is null
) s
where s.username is not null
order by s.last_seen_at desc, s.id`,
);

// ── And in the end ──────────────────────────────────────────────────────────────────────────────────

/** What {@linkcode SWEEP} answers. */
export interface Swept {
  readonly swept: number;
  /** How many blocks the table has. */
  readonly blocks: number;
}

const isDead = (row: string) => `
  case
    when ${row}.revoked_at is not null
      then ${row}.revoked_at <= statement_timestamp() - (select retention from a)
    else ${row}.expires_at <= statement_timestamp()
      or coalesce(${row}.last_seen_at <= statement_timestamp() - (select idle from a), false)
  end`;

/**
 * Deletes the dead rows in a range of the table's blocks: what has passed its stored deadline, what was
 * revoked long enough ago, and, only where the caller names a timeout, what was not used for that long.
 *
 * By the rows' places, as no index is by any of these instants: keeping one would cost every touch. A
 * row that somebody holds is left for the next time. The condition stands twice, so that a row that was
 * changed before the lock was had is not deleted by its place.
 *
 * `$1`, `$2` the first block and the one after the last; `$3` retention; `$4` idleTimeout, or null.
 */
export const SWEEP: Statement = statement(
  "sweep the sessions",
  `with a as (
  select $1::text::tid as first, $2::text::tid as after, ${seconds("$3")} as retention,
    ${seconds("$4")} as idle
), dead as (
  select s.ctid, s.id from coatcheck.sessions s
  where s.ctid >= (select first from a) and s.ctid < (select after from a) and ${isDead("s")}
  for update of s skip locked
), swept as (
  delete from coatcheck.sessions s
  where s.ctid = any(array(select ctid from dead)) and ${isDead("s")}
  returning s.id
)
select ${
    answer({
      swept: "(select count(*) from swept)",
      blocks: `pg_catalog.pg_relation_size('coatcheck.sessions')
        / current_setting('block_size')::integer`,
    })
  }`,
);

// ── Many calls at once ──────────────────────────────────────────────────────────────────────────────

// Where half a second is over, a lock is not waited for any longer.
const IMPATIENT = `(
      select case when current_setting('lock_timeout')::interval not between '1 ms' and '500 ms'
        then set_config('lock_timeout', '500', true) end offset 0
    ) impatient`;

/**
 * {@linkcode VALIDATE} for many calls. Each row begins with the number of its call.
 *
 * `$1` their values, as a JSON array of arrays; that of `$0` comes first in each.
 */
export const VALIDATE_MANY: Statement = statement(
  VALIDATE.purpose,
  validation(
    elementPlace,
    // Look-up by look-up, where the planner would rather read the whole of a small table.
    (rows) => `from ${CALLS} cross join lateral (select * from ${rows} offset 0) s`,
    `${elementPlace(0)} || ' ' || `,
  ),
);

const insertion = (replacing: boolean) =>
  statement(
    INSERT.purpose,
    `${given(elementPlace, replacing, `${IMPATIENT} cross join ${CALLS} cross join `)}, ${
      replacing ? `${REPLACED}, ` : ""
    }inserted as (
${INSERTION}
returning *
)
select g.call || ' ' || ${answer({ ...INSERTED, ...(replacing ? REPLACEMENT : {}) }, "g.call")}
from inserted s join given g on g.id = s.id`,
  );

/**
 * {@linkcode INSERT} for many calls: all are stored, or, where one of them cannot be, none.
 *
 * A user whose row somebody holds must not hold up the others: it gives up after half a second.
 *
 * `$1` as above.
 */
export const INSERT_MANY: Statement = insertion(false);

/** {@linkcode REPLACE} for many calls, in the same way. */
export const REPLACE_MANY: Statement = insertion(true);
