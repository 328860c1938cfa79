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

/** A client that answers a statement on demand, and the statements that were sent to it. */
function paused(sql: Sql) {
  const sent: { text: string; values: unknown[]; answer: () => void }[] = [];
  return {
    sent,
    sql: ((strings, ...values) => {
      const { promise, resolve } = gate();
      sent.push({ text: strings.join("?"), values, answer: resolve });
      return promise.then(() => sql(strings, ...values));
    }) as Sql,
  };
}

function gate() {
  let resolve = () => {};
  const promise = new Promise<void>((open) => resolve = open);
  return { promise, resolve };
}

/** Answers every statement until the calls are settled. */
async function settle(sent: { answer: () => void }[], ...all: Promise<unknown>[]) {
  let done = false;
  const end = Promise.allSettled(all).then(() => done = true);
  for (let next = 0; !done;) {
    if (next < sent.length) sent[next++]!.answer();
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await end;
}

describe("batched", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    const shares = [{ calls: 2, sent: 1 }, { calls: 15, sent: 1 }, { calls: 16, sent: 2 }];
    for (const { calls, sent } of shares) {
      const count = sent === 1 ? "one statement" : "two statements";
      test(`sends ${calls} concurrent calls as ${count}, through ${client}`, async () => {
        const { sql, statements } = counted(db.clients[client]!);
        const batch = batched(sql);
        const created = await Promise.all(
          users(calls).map((user) =>
            createSession(user, batch, { data: { user, "": "\\ $1 'é" } })
          ),
        );
        assert.equal(statements.length, sent);
        assert.deepEqual(created.map(({ session }) => session.username), users(calls));
        const results = await Promise.all(
          created.map(({ headers }) => validateSession(withCookie(headers), batch)),
        );
        assert.equal(statements.length, 2 * sent);
        assert.deepEqual(
          results.map(({ session }) => session),
          created.map(({ session }) => session),
        );
        assert.equal(new Set(created.map(({ headers }) => secretOf(headers))).size, calls);
      });
    }
  }

  test("returns to each call what the plain client returns, whatever the other calls are", async () => {
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
    const plain = [];
    for (const call of calls) plain.push(await call(db.sql));
    const shown = (results: Awaited<ReturnType<typeof validateSession>>[]) =>
      results.map(({ headers, ...result }) => [result, headers.get("set-cookie")?.slice(0, 95)]);
    assert.deepEqual(shown(await Promise.all(calls.map((call) => call(sql)))), shown(plain));
  });

  test("sends a single call as the plain client does", async () => {
    const plain = counted(db.sql);
    const { headers } = await createSession("ada", plain.sql);
    await validateSession(withCookie(headers), plain.sql);
    const { sql, statements } = counted(db.sql);
    const batch = batched(sql);
    await createSession("ada", batch);
    await validateSession(withCookie(headers), batch);
    assert.deepEqual(statements, plain.statements);
  });

  test("batches the calls that come while two statements are in flight, and waits for nothing else", async () => {
    const { sent, sql } = paused(db.sql);
    const batch = batched(sql);
    const calls: Promise<unknown>[] = [];
    const sizes: number[] = [];
    const replaces = new Headers({ cookie: `__Host-session=${createToken().token}` });
    for (const [i, user] of users(12).entries()) {
      calls.push(createSession(user, batch, i % 2 ? { replaces } : {}));
      await Promise.resolve().then(() => {});
      sizes.push(sent.length);
    }
    // The first is sent, then the second; the other ten wait for one of them.
    assert.deepEqual([sizes[0], sizes[1], sizes[11]], [1, 2, 2]);
    await settle(sent, ...calls);
    const creations = sent.filter(({ text }) => /insert into/.test(text));
    assert.equal(creations.length, 3);
    assert.equal(JSON.parse(creations[2]!.values[0] as string).length, 10);
    // Each of the six revocations is a statement of its own.
    assert.equal(sent.length, 3 + 6);
    await Promise.all(calls);
  });

  test("sends at most 128 calls in one statement, in their order", async () => {
    const { sent, sql } = paused(db.sql);
    const batch = batched(sql);
    // The rest is too small to be split.
    const calls = users(270).map((user) => createSession(user, batch));
    await settle(sent, ...calls);
    assert.deepEqual(
      sent.map(({ values }) => JSON.parse(values[0] as string).map(([, user]: string[]) => user)),
      [users(270).slice(0, 128), users(270).slice(128, 256), users(270).slice(256)],
    );
    assert.equal((await Promise.all(calls)).length, 270);
  });

  test("rejects only the call of an unknown user, in the same statement", async () => {
    const { sql, statements } = counted(db.sql);
    const batch = batched(sql);
    const before = await createSession("ada", db.sql);
    const other = await createSession("ada", db.sql);
    const results = await Promise.allSettled([
      createSession("ada", batch),
      createSession("nobody", batch, { replaces: withCookie(before.headers) }),
      createSession({ userId: 2 }, batch),
      createSession({ userId: 404 }, batch),
      createSession("user100", batch, { replaces: withCookie(other.headers) }),
    ]);
    // By username, by key, and one revocation.
    assert.equal(statements.length, 3);
    const creations = statements.filter((text) => /insert into/.test(text));
    assert.equal(creations.length, 2);
    assert.ok(creations.every((text) => /jsonb_array_elements/.test(text)));
    assert.deepEqual(
      results.map((it) => it.status === "fulfilled" ? it.value.session.username : it.reason.code),
      ["ada", "USER_NOT_FOUND", "grace", "USER_NOT_FOUND", "user100"],
    );
    assert.ok((await validateSession(withCookie(before.headers), db.sql)).session);
    assert.equal((await validateSession(withCookie(other.headers), db.sql)).reason, "revoked");
  });

  test("rejects only the call that fails a whole statement, and stores the others once", async () => {
    const { sql, statements } = counted(db.sql);
    const batch = batched(sql);
    const { session } = await createSession("grace", db.sql);
    const record = () => {
      const { id, digest } = createToken();
      return { id, digest, userId: 1, createdAt: new Date(), expiresAt: new Date("2099-01-01") };
    };
    const [one, two] = [record(), record()];
    const results = await Promise.allSettled([
      insertSession(one, batch),
      insertSession({ ...record(), id: session.id }, batch),
      createSession({ userId: "no number" }, batch),
      insertSession(two, batch),
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

  test("rejects only the call that a trigger of the app rejects", async () => {
    const batch = batched(db.sql);
    await db.sql.unsafe(`
      create function refuse() returns trigger language plpgsql as $$
      begin
        if new.user_id = 300 then raise exception using errcode = 'APP01'; end if;
        return new;
      end $$;
      create trigger refuse before insert on coatcheck.sessions
        for each row execute function refuse()`);
    const results = await Promise.allSettled([
      createSession("ada", batch),
      createSession("user300", batch),
      createSession("grace", batch),
    ]);
    await db.sql`drop function refuse cascade`;
    assert.deepEqual(
      results.map((it) => it.status === "fulfilled" || it.reason.sqlstate),
      [true, "APP01", true],
    );
  });

  test("keeps its limit of concurrent statements if it sends calls again by themselves", async () => {
    let [inFlight, most] = [0, 0];
    const batch = batched(async (strings, ...values) => {
      most = Math.max(most, ++inFlight);
      try {
        return await db.sql(strings as never, ...values);
      } finally {
        inFlight--;
      }
    });
    const calls = users(280).map((user, i) =>
      createSession(i % 60 ? user : { userId: "no number" }, batch)
    );
    const results = await Promise.allSettled(calls);
    assert.equal(results.filter(({ status }) => status === "rejected").length, 5);
    assert.ok(most <= 10, `${most}`);
  });

  test("emits to each sign-in only the session that it has replaced", async () => {
    const replaced: unknown[] = [];
    const onEvent = (event: SessionEvent) => {
      if (event.type === "revoked") replaced.push(event.id);
    };
    const batch = batched(db.sql);
    const { session, headers } = await createSession("ada", db.sql);
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    await Promise.all(
      [withCookie(headers), forged, withCookie(headers)]
        .map((replaces) => createSession("ada", batch, { replaces, onEvent })),
    );
    assert.deepEqual(replaced, [session.id]);
  });

  test("does not delay other calls for long if the row of one user is locked", async () => {
    const batch = batched(db.sql);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from users where id = 1 for update`;
    const held = createSession("ada", batch, { queryTimeout: 2 });
    const free = createSession("grace", batch, { queryTimeout: 2 });
    assert.equal((await free).session.username, "grace");
    await other`commit`;
    other.release();
    assert.equal((await held).session.username, "ada");
  });

  test("revokes the sessions that several sign-ins replace, each with a statement of its own", async () => {
    const [one, two] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const { sql, statements } = counted(db.sql);
    const batch = batched(sql);
    await Promise.all([
      createSession("grace", batch, { replaces: withCookie(one.headers) }),
      createSession("ada", batch, { replaces: withCookie(two.headers) }),
      createSession("ada", batch, { replaces: withCookie(two.headers) }),
    ]);
    // One more if the two revocations of one session met: the later one reads why it changed nothing.
    assert.ok([4, 5].includes(statements.length), statements.join("\n"));
    assert.match(
      statements[0]!,
      /jsonb_array_elements.*insert into/,
    );
    for (const { headers } of [one, two]) {
      const result = await validateSession(withCookie(headers), db.sql);
      assert.deepEqual([result.reason, result.revokedReason], ["revoked", "replaced"]);
    }
  });

  test("passes every other statement through", async () => {
    const { sql, statements } = counted(db.sql);
    const functions = configure({ maxSessions: 2 });
    const { session, headers } = await functions.createSession("user400", batched(sql));
    const request = withCookie(headers);
    await functions.updateSession(request, { a: 1 }, batched(sql));
    assert.equal((await functions.listSessions(session.userId, batched(sql))).length, 1);
    await functions.rotateSession(request, batched(sql));
    await functions.revokeSessions({ userId: session.userId }, batched(sql));
    await functions.sweepSessions(batched(sql));
    assert.equal(await functions.getUserId("user400", batched(sql)), 400);
    assert.equal(statements.length, 8);
  });

  test("applies the queryTimeout of each call, and drops a call that has waited that long", async () => {
    const { sent, sql } = paused(db.sql);
    const batch = batched(sql);
    const rows = async () => (await db.sql`select from coatcheck.sessions`).length;
    const before = await rows();
    const under = [createSession("ada", batch, { queryTimeout: 60 })];
    await Promise.resolve();
    under.push(createSession("ada", batch, { queryTimeout: 60 }));
    await Promise.resolve();
    const late = createSession("grace", batch, { queryTimeout: 1 });
    const patient = createSession("grace", batch, { queryTimeout: 60 });
    await assert.rejects(late, { code: "STORE_TIMEOUT" });
    await settle(sent, ...under, patient);
    await Promise.all([...under, patient]);
    assert.equal(sent.length, 3);
    assert.equal(await rows(), before + 3);
  });

  test("continues after statements that are never answered", async () => {
    let deaf = true;
    const batch = batched((strings, ...values) =>
      deaf ? new Promise(() => {}) : db.sql(strings as never, ...values)
    );
    const lost = [];
    for (const user of users(6)) {
      lost.push(createSession(user, batch, { queryTimeout: 1 }));
      await Promise.resolve();
    }
    for (const { status } of await Promise.allSettled(lost)) assert.equal(status, "rejected");
    deaf = false;
    assert.equal((await createSession("ada", batch)).session.username, "ada");
  });

  test("sends no statement in place of one that a call still waits for", async () => {
    const { sent, sql } = paused(db.sql);
    const batch = batched(sql);
    const calls = users(16).map((user, i) =>
      createSession(user, batch, { queryTimeout: i % 8 ? 60 : 1 })
    );
    await assert.rejects(calls[0]!, { code: "STORE_TIMEOUT" });
    await assert.rejects(calls[8]!, { code: "STORE_TIMEOUT" });
    const late = createSession("ada", batch);
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(sent.length, 2);
    await settle(sent, ...calls, late);
    assert.equal(sent.length, 3);
    assert.equal((await late).session.username, "ada");
  });

  for (const code of ["57P01", "ECONNRESET", undefined]) {
    test(`rejects all calls with ${code ?? "an error without a code"}, and sends none again`, async () => {
      let sent = 0;
      const batch = batched(() => {
        sent++;
        return Promise.reject(Object.assign(new Error("gone"), { code }));
      });
      const results = await Promise.allSettled(users(10).map((it) => createSession(it, batch)));
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "STORE_UNAVAILABLE");
      }
      assert.equal(sent, 1);
    });
  }

  test("rejects a call that its queue cannot hold", async () => {
    const batch = batched(() => new Promise(() => {}));
    const options = { queryTimeout: 1 };
    const calls = Array.from({ length: 10_001 }, () => createSession("ada", batch, options));
    const settled = Promise.allSettled(calls);
    await assert.rejects(calls.pop()!, {
      code: "STORE_UNAVAILABLE",
      message: "createSession: the database is unreachable (QUEUE_FULL)",
    });
    await settled;
  });

  test("rejects all calls if a row belongs to none of them", async () => {
    const stored = async () => (await db.sql`select from coatcheck.sessions`).length;
    for (
      const call of ["q0", "", " ", "0", 0, 1, null, undefined, "constructor", "__proto__", {}]
    ) {
      const batch = batched(async (strings, ...values) => {
        const rows = await db.sql(strings as never, ...values) as unknown as object[];
        return [...rows, { ...rows[0], call }];
      });
      const before = await stored();
      const results = await Promise.allSettled([
        createSession("ada", batch),
        createSession("grace", batch),
      ]);
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
      // Rows that no cookie opens.
      assert.equal(await stored(), before + 2);
    }
    for (const row of [{}, [], "", "row", 1, null, undefined]) {
      const batch = batched(async (strings, ...values) => [
        ...await db.sql(strings as never, ...values) as unknown as object[],
        row,
      ]);
      const results = await Promise.allSettled([
        createSession("ada", batch),
        createSession("grace", batch),
      ]);
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    }
    for (const answer of [undefined, null, {}, { rows: 1 }, "rows"]) {
      const batch = batched(() => Promise.resolve(answer as unknown as []));
      const { headers } = await createSession("ada", db.sql);
      const results = await Promise.allSettled([
        validateSession(withCookie(headers), batch),
        validateSession(withCookie(headers), batch),
      ]);
      for (const result of results) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    }
  });

  test("ignores holes, which postgres.js leaves in the result after one that broke off", async () => {
    const [ada, grace] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const batch = batched(async (strings, ...values) => {
      const rows = await db.sql(strings as never, ...values);
      return Object.assign([], { 3: rows[0], 4: rows[1] });
    });
    const results = await Promise.all([
      validateSession(withCookie(ada.headers), batch),
      validateSession(withCookie(grace.headers), batch),
    ]);
    assert.deepEqual(results.map(({ session }) => session?.username), ["ada", "grace"]);
  });

  test("rejects both calls if each gets the row of the other", async () => {
    const [ada, grace] = [await createSession("ada", db.sql), await createSession("grace", db.sql)];
    const crossed: Sql = async (strings, ...values) => {
      const rows = await db.sql(strings as never, ...values) as unknown as { call: string }[];
      const numbers = rows.map(({ call }) => call).reverse();
      return rows.map((row, i) => ({ ...row, call: numbers[i] }));
    };
    const batch = batched(crossed);
    const results = await Promise.allSettled([
      validateSession(withCookie(ada.headers), batch),
      validateSession(withCookie(grace.headers), batch),
    ]);
    for (const result of results) {
      assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
    }
  });

  test("rejects a client that is not a function", () => {
    assert.throws(() => batched(null as never), {
      name: "TypeError",
      message: "batched: sql must be a tagged-template client, like postgres(url), got null",
    });
  });
});
