import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  batched,
  configure,
  createSession,
  createToken,
  insertSession,
  revokeSession,
  rotateSession,
  type SessionEvent,
  type Sql,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
  await db.sql`insert into users select i, 'user' || i from generate_series(100, 400) i`;
});
afterAll(() => db.close());

const users = (count: number) => Array.from({ length: count }, (_, i) => `user${100 + i}`);

/** A client that answers nothing before it is told to, and what has been asked of it. */
function paused(sql: Sql) {
  const asked: { text: string; values: unknown[]; answer: () => void }[] = [];
  return {
    asked,
    sql: ((strings, ...values) => {
      const { promise, resolve } = gate();
      asked.push({ text: strings.join("?"), values, answer: resolve });
      return promise.then(() => sql(strings, ...values));
    }) as Sql,
  };
}

function gate() {
  let resolve = () => {};
  const promise = new Promise<void>((open) => resolve = open);
  return { promise, resolve };
}

/** Answers everything that is asked, until all that waits for it is done. */
async function settle(asked: { answer: () => void }[], ...all: Promise<unknown>[]) {
  let done = false;
  const end = Promise.allSettled(all).then(() => done = true);
  for (let next = 0; !done;) {
    if (next < asked.length) asked[next++]!.answer();
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await end;
}

describe("batched", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    const shares = [{ calls: 2, sent: 1 }, { calls: 15, sent: 1 }, { calls: 16, sent: 2 }];
    for (const { calls, sent } of shares) {
      test(`sends ${calls} calls that come at once as ${sent}, through ${client}`, async () => {
        const { sql, statements } = counted(db.clients[client]!);
        const together = batched(sql);
        const created = await Promise.all(
          users(calls).map((user) =>
            createSession(user, together, { data: { user, "": "\\ $1 'é" } })
          ),
        );
        assert.equal(statements.length, sent);
        assert.deepEqual(created.map(({ session }) => session.username), users(calls));
        const visits = await Promise.all(
          created.map(({ headers }) => validateSession(withCookie(headers), together)),
        );
        assert.equal(statements.length, 2 * sent);
        assert.deepEqual(
          visits.map(({ session }) => session),
          created.map(({ session }) => session),
        );
        assert.equal(new Set(created.map(({ headers }) => secretOf(headers))).size, calls);
      });
    }
  }

  test("answers each as the plain client does, whatever the others ask", async () => {
    const sql = batched(db.sql);
    const [ada, grace] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const revoked = await createSession("ada", db.sql);
    await revokeSession(withCookie(revoked.headers), db.sql);
    const rotated = await createSession("ada", db.sql, { persistent: false });
    await rotateSession(withCookie(rotated.headers), db.sql);
    const aged = await createSession("ada", db.sql);
    await db.sql`update coatcheck.sessions set authenticated_at = authenticated_at - interval '2 h'
      where id = ${aged.session.id}`;
    const strict = { idleTimeout: 60, absoluteTimeout: 3600, touchInterval: false } as const;
    const stranger = new Headers({ cookie: `__Host-session=${createToken().token}` });
    const calls: ((sql: Sql) => ReturnType<typeof validateSession>)[] = [
      (sql) => validateSession(withCookie(ada.headers), sql),
      (sql) => validateSession(withCookie(grace.headers), sql, strict),
      (sql) => validateSession(withCookie(revoked.headers), sql),
      (sql) => validateSession(stranger, sql),
      (sql) => validateSession(withCookie(rotated.headers), sql),
      (sql) => validateSession(withCookie(aged.headers), sql, strict),
      (sql) => validateSession(withCookie(aged.headers), sql, { authenticatedWithin: 60 }),
      (sql) => validateSession(withCookie(ada.headers), sql),
    ];
    const apart = [];
    for (const call of calls) apart.push(await call(db.sql));
    const told = (visits: Awaited<ReturnType<typeof validateSession>>[]) =>
      visits.map(({ headers, ...visit }) => [visit, headers.get("set-cookie")?.slice(0, 95)]);
    assert.deepEqual(told(await Promise.all(calls.map((call) => call(sql)))), told(apart));
  });

  test("sends a call that is alone as it is", async () => {
    const plain = counted(db.sql);
    const { headers } = await createSession("ada", plain.sql);
    await validateSession(withCookie(headers), plain.sql);
    const { sql, statements } = counted(db.sql);
    const together = batched(sql);
    await createSession("ada", together);
    await validateSession(withCookie(headers), together);
    assert.deepEqual(statements, plain.statements);
  });

  test("gathers what comes while two statements are under way, and waits for nothing else", async () => {
    const { asked, sql } = paused(db.sql);
    const together = batched(sql);
    const calls: Promise<unknown>[] = [];
    const sizes: number[] = [];
    const replaces = new Headers({ cookie: `__Host-session=${createToken().token}` });
    for (const [i, user] of users(12).entries()) {
      calls.push(createSession(user, together, i % 2 ? { replaces } : {}));
      await Promise.resolve().then(() => {});
      sizes.push(asked.length);
    }
    // The first leaves, then the second; the other ten wait for one of them.
    assert.deepEqual([sizes[0], sizes[1], sizes[11]], [1, 2, 2]);
    await settle(asked, ...calls);
    assert.equal(asked.length, 3);
    assert.equal(JSON.parse(asked[2]!.values[0] as string).length, 10);
    await Promise.all(calls);
  });

  test("sends no more than 128 calls as one, in the order in which they came", async () => {
    const { asked, sql } = paused(db.sql);
    const together = batched(sql);
    // What is left are too few to be shared out.
    const calls = users(270).map((user) => createSession(user, together));
    await settle(asked, ...calls);
    assert.deepEqual(
      asked.map(({ values }) =>
        JSON.parse(values[0] as string).map(([, user]: string[]) => JSON.parse(user!).username)
      ),
      [users(270).slice(0, 128), users(270).slice(128, 256), users(270).slice(256)],
    );
    assert.equal((await Promise.all(calls)).length, 270);
  });

  test("lets an unknown user fail alone, in the same statement", async () => {
    const { sql, statements } = counted(db.sql);
    const together = batched(sql);
    const before = await createSession("ada", db.sql);
    const other = await createSession("ada", db.sql);
    const results = await Promise.allSettled([
      createSession("ada", together),
      createSession("nobody", together, { replaces: withCookie(before.headers) }),
      createSession({ userId: 2 }, together),
      createSession({ userId: 404 }, together),
      createSession("user100", together, { replaces: withCookie(other.headers) }),
    ]);
    assert.equal(statements.length, 1);
    assert.deepEqual(
      results.map((it) => it.status === "fulfilled" ? it.value.session.username : it.reason.code),
      ["ada", "USER_NOT_FOUND", "grace", "USER_NOT_FOUND", "user100"],
    );
    assert.ok((await validateSession(withCookie(before.headers), db.sql)).session);
    assert.equal((await validateSession(withCookie(other.headers), db.sql)).reason, "revoked");
  });

  test("lets what fails a whole statement fail alone, and stores the others once", async () => {
    const { sql, statements } = counted(db.sql);
    const together = batched(sql);
    const { session } = await createSession("grace", db.sql);
    const record = () => {
      const { id, digest } = createToken();
      return { id, digest, userId: 1, createdAt: new Date(), expiresAt: new Date("2099-01-01") };
    };
    const [one, two] = [record(), record()];
    const results = await Promise.allSettled([
      insertSession(one, together),
      insertSession({ ...record(), id: session.id }, together),
      createSession({ userId: "no number" }, together),
      insertSession(two, together),
    ]);
    assert.deepEqual(results.map((it) => it.status === "fulfilled" || it.reason.code), [
      true,
      "STORE_REJECTED",
      "USER_NOT_FOUND",
      true,
    ]);
    assert.equal(statements.length, 5);
    const rows = await db.sql`select from coatcheck.sessions where id in (${one.id}, ${two.id})`;
    assert.equal(rows.length, 2);
  });

  test("lets what is too deep, or against a trigger of the app's, fail alone", async () => {
    const together = batched(db.sql);
    let deep: unknown = [];
    for (let depth = 0; depth < 20_000; depth++) deep = [deep];
    await db.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$
      begin
        if new.user_id = 300 then raise exception using errcode = 'APP01'; end if;
        return new;
      end $$;
      create trigger refuse before insert on coatcheck.sessions
        for each row execute function refuse()`);
    const results = await Promise.allSettled([
      createSession("ada", together),
      createSession("ada", together, { data: { deep } }),
      createSession("user300", together),
      createSession("grace", together),
    ]);
    await db.sql`drop function refuse cascade`;
    assert.deepEqual(
      results.map((it) => it.status === "fulfilled" || it.reason.sqlstate),
      [true, "54001", "APP01", true],
    );
  });

  test("sends no more at a time when calls are sent again, alone", async () => {
    let [inFlight, most] = [0, 0];
    const together = batched(async (strings, ...values) => {
      most = Math.max(most, ++inFlight);
      try {
        return await db.sql(strings as never, ...values);
      } finally {
        inFlight--;
      }
    });
    const calls = users(280).map((user, i) =>
      createSession(i % 60 ? user : { userId: "no number" }, together)
    );
    const results = await Promise.allSettled(calls);
    assert.equal(results.filter(({ status }) => status === "rejected").length, 5);
    assert.ok(most <= 10, `${most}`);
  });

  test("tells each sign-in of what it has replaced itself", async () => {
    const replaced: unknown[] = [];
    const onEvent = (event: SessionEvent) => {
      if (event.type === "revoked") replaced.push(event.id);
    };
    const together = batched(db.sql);
    const { session, headers } = await createSession("ada", db.sql);
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    await Promise.all(
      [withCookie(headers), forged, withCookie(headers)]
        .map((replaces) => createSession("ada", together, { replaces, onEvent })),
    );
    assert.deepEqual(replaced, [session.id]);
  });

  test("lets a user whose row is held hold up nobody else for long", async () => {
    const together = batched(db.sql);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from users where id = 1 for update`;
    const held = createSession("ada", together, { queryTimeout: 2 });
    const free = createSession("grace", together, { queryTimeout: 2 });
    assert.equal((await free).session.username, "grace");
    await other`commit`;
    other.release();
    assert.equal((await held).session.username, "ada");
  });

  test("ends the sessions that several sign-ins replace, in the same statement", async () => {
    const [one, two] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const { sql, statements } = counted(db.sql);
    const together = batched(sql);
    await Promise.all([
      createSession("grace", together, { replaces: withCookie(one.headers) }),
      createSession("ada", together, { replaces: withCookie(two.headers) }),
      createSession("ada", together, { replaces: withCookie(two.headers) }),
    ]);
    assert.equal(statements.length, 1);
    for (const { headers } of [one, two]) {
      const visit = await validateSession(withCookie(headers), db.sql);
      assert.deepEqual([visit.reason, visit.revokedReason], ["revoked", "replaced"]);
    }
  });

  test("passes every other statement through", async () => {
    const { sql, statements } = counted(db.sql);
    const verbs = configure({ maxSessions: 2 });
    const { session, headers } = await verbs.createSession("user400", batched(sql));
    const request = withCookie(headers);
    await verbs.updateSession(request, { a: 1 }, batched(sql));
    assert.equal((await verbs.listSessions(session.userId, batched(sql))).length, 1);
    await verbs.rotateSession(request, batched(sql));
    await verbs.revokeSessions({ userId: session.userId }, batched(sql));
    await verbs.sweepSessions(batched(sql));
    assert.equal(await verbs.getUserId("user400", batched(sql)), 400);
    assert.equal(statements.length, 8);
  });

  test("gives each caller its own deadline, and drops whom nobody waits for any more", async () => {
    const { asked, sql } = paused(db.sql);
    const together = batched(sql);
    const rows = async () => (await db.sql`select from coatcheck.sessions`).length;
    const before = await rows();
    const under = [createSession("ada", together, { queryTimeout: 60 })];
    await Promise.resolve();
    under.push(createSession("ada", together, { queryTimeout: 60 }));
    await Promise.resolve();
    const late = createSession("grace", together, { queryTimeout: 1 });
    const patient = createSession("grace", together, { queryTimeout: 60 });
    await assert.rejects(late, { code: "STORE_TIMEOUT" });
    await settle(asked, ...under, patient);
    await Promise.all([...under, patient]);
    assert.equal(asked.length, 3);
    assert.equal(await rows(), before + 3);
  });

  test("goes on after statements that are never answered", async () => {
    let deaf = true;
    const together = batched((strings, ...values) =>
      deaf ? new Promise(() => {}) : db.sql(strings as never, ...values)
    );
    const lost = [];
    for (const user of users(6)) {
      lost.push(createSession(user, together, { queryTimeout: 1 }));
      await Promise.resolve();
    }
    for (const { status } of await Promise.allSettled(lost)) assert.equal(status, "rejected");
    deaf = false;
    assert.equal((await createSession("ada", together)).session.username, "ada");
  });

  test("sends nothing in place of a statement that somebody still waits for", async () => {
    const { asked, sql } = paused(db.sql);
    const together = batched(sql);
    const calls = users(16).map((user, i) =>
      createSession(user, together, { queryTimeout: i % 8 ? 60 : 1 })
    );
    await assert.rejects(calls[0]!, { code: "STORE_TIMEOUT" });
    await assert.rejects(calls[8]!, { code: "STORE_TIMEOUT" });
    const late = createSession("ada", together);
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(asked.length, 2);
    await settle(asked, ...calls, late);
    assert.equal(asked.length, 3);
    assert.equal((await late).session.username, "ada");
  });

  for (const code of ["57P01", "ECONNRESET", undefined]) {
    test(`tells everybody of ${code ?? "an error without a code"}, and sends it no more`, async () => {
      let sent = 0;
      const together = batched(() => {
        sent++;
        return Promise.reject(Object.assign(new Error("gone"), { code }));
      });
      const results = await Promise.allSettled(users(10).map((it) => createSession(it, together)));
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "STORE_UNAVAILABLE");
      }
      assert.equal(sent, 1);
    });
  }

  test("refuses what its queue cannot hold", async () => {
    const together = batched(() => new Promise(() => {}));
    const options = { queryTimeout: 1 };
    const calls = Array.from({ length: 10_001 }, () => createSession("ada", together, options));
    await assert.rejects(calls.pop()!, {
      code: "STORE_UNAVAILABLE",
      message: "Cannot store the session as the database must be reachable, got QUEUE_FULL",
    });
    await Promise.allSettled(calls);
  });

  test("gives nobody a row where it cannot tell whose it is", async () => {
    for (const text of ["q0 {}", "{}", "", " {}", 1, null, `q{"a":1}`, "1 {}", "constructor {}"]) {
      const together = batched((_, calls) => {
        const [[number]] = JSON.parse(calls as string);
        return Promise.resolve([{ json: `${number} {"of":"${number}"}` }, { json: text }]);
      });
      const results = await Promise.allSettled([
        createSession("ada", together),
        createSession("grace", together),
      ]);
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    }
    for (const answer of [undefined, null, {}, { rows: 1 }, "rows"]) {
      const together = batched(() => Promise.resolve(answer as unknown as []));
      const { headers } = await createSession("ada", db.sql);
      const results = await Promise.allSettled([
        validateSession(withCookie(headers), together),
        validateSession(withCookie(headers), together),
      ]);
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    }
  });

  test("passes over holes, as postgres.js leaves in the answer after one that broke off", async () => {
    const [ada, grace] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const together = batched(async (strings, ...values) => {
      const rows = await db.sql(strings as never, ...values);
      return Object.assign([], { 3: rows[0], 4: rows[1] });
    });
    const visits = await Promise.all([
      validateSession(withCookie(ada.headers), together),
      validateSession(withCookie(grace.headers), together),
    ]);
    assert.deepEqual(visits.map(({ session }) => session?.username), ["ada", "grace"]);
  });

  test("gives nobody another caller's session, however the rows are numbered", async () => {
    const [ada, grace] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const crossed: Sql = async (strings, ...values) => {
      const rows = await db.sql(strings as never, ...values) as unknown as { json: string }[];
      const numbers = rows.map(({ json }) => json.split(" ")[0]).reverse();
      return rows.map(({ json }, i) => ({ json: numbers[i] + json.slice(json.indexOf(" ")) }));
    };
    const together = batched(crossed);
    const results = await Promise.allSettled([
      validateSession(withCookie(ada.headers), together),
      validateSession(withCookie(grace.headers), together),
    ]);
    for (const result of results) {
      assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
    }
  });

  test("refuses a client that is no function", () => {
    assert.throws(() => batched(null as never), {
      name: "TypeError",
      message:
        "Cannot proceed as sql must be a tagged-template client, like postgres(url), got null",
    });
  });
});
