// What a full queue of notifications does to revocation: fills it through the public functions.
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { answer } from "./answer.mjs";
import { connect, cookieOf, load, seed, targetOf } from "./contestants/coatcheck.mjs";

const SESSIONS = 40_000;
const IN_FLIGHT = 16;
const SETTLED_MILLISECONDS = 2000;

const coatcheck = await load();

answer({
  /** Revokes while a connection that listens stays in a transaction, and tries what still works. */
  measure: async (url) => {
    await seed(url, SESSIONS, { notify: true });
    const { sql, close } = connect(url, { client: "Bun.SQL", pool: IN_FLIGHT });
    const reader = postgres(url, { max: 1, onnotice: () => {} });
    const listening = await reader.reserve();
    await listening`listen coatcheck`;
    await listening`begin`;
    await listening`select 1`;

    const { revocations, failed } = await fill(sql);
    const headers = new Headers({ cookie: cookieOf(failed) });
    const touching = coatcheck.configure({ touchInterval: 0 });
    const whileFull = {
      revokeSessions: await outcome(() => coatcheck.revokeSessions(targetOf(failed), sql)),
      revokeSession: await outcome(() => coatcheck.revokeSession(headers, sql)),
      validateSession: await outcome(() => coatcheck.validateSession(headers, sql)),
      "validateSession with a touch": await outcome(() => touching.validateSession(headers, sql)),
      createSession: await outcome(() => coatcheck.createSession("user7", sql)),
      rotateSession: await outcome(() => coatcheck.rotateSession(headers, sql)),
    };
    const { reason } = await coatcheck.validateSession(headers, sql);
    const [{ version, usage }] = await sql`
      select current_setting('server_version') as version, pg_notification_queue_usage() as usage`;

    await listening`rollback`;
    const revoke = () => outcome(() => coatcheck.revokeSessions(targetOf(failed), sql));
    // It has read all by then. But only a sender of notifications makes room, and none can send.
    await sleep(SETTLED_MILLISECONDS);
    const afterRollback = await revoke();
    await sql`select pg_notification_queue_usage()`;
    const afterLook = await revoke();
    listening.release();
    await reader.end({ timeout: 1 });
    await close();
    return {
      version,
      revocations,
      usage,
      whileFull,
      isLive: reason === undefined,
      afterRollback,
      afterLook,
    };
  },
});

/** Revokes one session after the other until one fails. */
async function fill(sql) {
  let next = 0;
  let revocations = 0;
  let failed;
  const revoke = async () => {
    while (failed === undefined) {
      const session = ++next;
      if (session > SESSIONS) throw new Error("The queue does not get full");
      if (await outcome(() => coatcheck.revokeSessions(targetOf(session), sql)) === null) {
        revocations++;
      } else {
        failed ??= session;
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, revoke));
  return { revocations, failed };
}

/** Returns null if the call succeeds. */
async function outcome(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return [error.code, error.sqlstate].filter(Boolean).join(" ") || String(error);
  }
}
