// Revocations that no trigger tells of: by SQL, while the triggers are switched off. A cache must find that out.
import { setTimeout as sleep } from "node:timers/promises";

const TRIGGERS = ["update", "delete", "truncate"].map((it) => `coatcheck_notify_${it}`);

/**
 * @param {ReturnType<typeof import("./oracle.mjs").createOracle>} oracle
 * @param {(call: object) => void} onFailure Is told of a call that may have taken effect.
 */
export function createSilence(oracle, onFailure) {
  const alter = (sql, how) =>
    sql.unsafe(`alter table coatcheck.sessions ${TRIGGERS.map((it) => `${how} trigger ${it}`)}`);

  /** Revokes some live sessions; they end by the calls that are returned when it is committed. */
  async function revokeSome(sql, begun) {
    const revoked = [];
    for (const call of begun) {
      const rows = await sql`update coatcheck.sessions
        set revoked_at = statement_timestamp(), revoked_reason = ${call.order.reason}
        where id = ${call.session.id} and revoked_at is null returning id`;
      if (rows.length > 0) revoked.push(call);
    }
    return revoked;
  }

  function begin() {
    const live = [...oracle.sessions.values()].slice(-400)
      .filter(({ deadSince }) => deadSince === undefined);
    return Array.from({ length: Math.min(5, live.length) }, () => {
      const [session] = live.splice(Math.floor(Math.random() * live.length), 1);
      const n = oracle.next();
      const order = { n, call: "revokeBySql", policy: session.policyName, reason: `op-${n}` };
      const token = session.tokens.at(-1);
      return oracle.begin(order, { worker: "SQL", policy: session.policyName, token });
    });
  }

  function end(call, answer) {
    const now = Date.now();
    oracle.end(call, { took: 0, statements: 1, began: now, ended: now, ...answer });
    if (answer.error) onFailure(call);
  }

  /** @param {import("postgres").Sql} sql One connection. */
  return async function revokeSilently(sql) {
    const begun = begin();
    const isOn = oracle.silence();
    const ended = (revoked) => {
      for (const call of begun) {
        const { order: { reason }, session: { id } } = call;
        const events = revoked.includes(call) ? [{ type: "revoked", id, reason }] : [];
        end(call, { events });
      }
    };
    try {
      if (Math.random() < 0.3) {
        const revoked = await sql.begin(async (tx) => {
          await alter(tx, "disable");
          const revoked = await revokeSome(tx, begun);
          await alter(tx, "enable always");
          return revoked;
        });
        ended(revoked);
      } else {
        await alter(sql, "disable");
        ended(await revokeSome(sql, begun));
        if (Math.random() < 0.3) await sleep(1000 * Math.random());
      }
    } catch (error) {
      // Another fault was in the way, such as a crash.
      const failure = { code: "STORE_UNAVAILABLE", sqlstate: error.code, text: error.message };
      if (!/^[0-9A-Z]{5}$/.test(error.code)) failure.sqlstate = undefined;
      for (const call of begun) if (call.state === "open") end(call, { error: failure });
      throw error;
    } finally {
      await enable(sql);
      isOn();
    }
  };

  async function enable(sql) {
    for (let tries = 0; tries < 40; tries++) {
      try {
        return await alter(sql, "enable always");
      } catch {
        await sleep(250);
      }
    }
    oracle.fail(undefined, "The triggers could not be switched on again");
  }
}
