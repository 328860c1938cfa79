// The page docs/cache.md: each way to listen runs as it stands, and recovers after its connection was lost.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createSessionCache, type Listen, type SessionCache } from "../cache.ts";
import { configure, createSession, type Sql } from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { until } from "./runner/until.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const page = await readFile(join(root, "docs/cache.md"), "utf8");
/** The blocks that are files, by name. */
const files = new Map(
  Array.from(
    page.matchAll(/^```ts(?: ignore)?\n(\/\/ (\w+\.ts)\n[^]*?)^```$/gm),
    ([, code, name]) => [name!, code!],
  ),
);

/** What a block of the page exports. `sql` is there if it listens with the client that the app has. */
interface Recipe {
  readonly listen: Listen;
  readonly sql?: Sql & { end(): Promise<void> };
}

const recipes = ["postgres.ts", "own.ts", "pg.ts", ...("Bun" in globalThis ? ["bun.ts"] : [])];

let db: Database;
let folder: string;
const loaded = new Map<string, Recipe>();

beforeAll(async () => {
  db = await openDatabase({ notify: true });
  folder = await mkdtemp(join(root, ".guide-listen-"));
  for (const name of recipes) {
    const file = join(folder, name);
    // Other files of the tests have the same environment on Deno.
    const code = files.get(name) ?? "";
    await writeFile(file, code.replace(/process\.env\.DATABASE_URL!?/, JSON.stringify(db.url)));
    loaded.set(name, await import(pathToFileURL(file).href) as Recipe);
  }
});
afterAll(async () => {
  for (const { sql } of loaded.values()) await sql?.end();
  if (folder) await rm(folder, { recursive: true });
  await db?.close();
});

const listeners = async () => {
  const rows = await db.sql<{ pid: number }[]>`select pid from pg_stat_activity
    where datname = current_database() and query ilike 'listen %'`;
  return rows.map(({ pid }) => pid);
};

describe("docs/cache.md", () => {
  test("has the recipes that are tested here, and no other file", () => {
    assert.deepEqual([...files.keys()], ["own.ts", "postgres.ts", "bun.ts", "pg.ts"]);
  });
});

// As of a standby before its promotion, which refuses: each attempt opens a connection of its own.
for (const name of ["own.ts", "pg.ts"]) {
  test(`${name} of docs/cache.md leaves no connection if the server refuses to listen`, async () => {
    const { listen } = loaded.get(name)!;
    const noName = "";
    await assert.rejects(async () => await listen(noName, () => {}, () => {}), { code: "42601" });
    await until("the connection is closed", async () => (await listeners()).length === 0);
  });
}

for (const name of recipes) {
  describe(`${name} of docs/cache.md`, () => {
    let cache: SessionCache;

    test("hears a revocation, recovers from a lost connection, and closes", async () => {
      const { listen, sql = db.sql } = loaded.get(name)!;
      cache = await createSessionCache({ sql, listen, maxStaleness: 1 });
      const { validateSession } = configure({ cache });
      const signIn = async () => {
        const { session, headers } = await createSession("ada", db.sql);
        const validate = async () => (await validateSession(withCookie(headers), sql)).reason;
        const isKnown = async () => {
          const { hits } = cache.stats();
          assert.equal(await validate(), undefined);
          return cache.stats().hits > hits;
        };
        const revoke = () =>
          db.sql`update coatcheck.sessions set revoked_at = now() where id = ${session.id}`;
        return { session, validate, isKnown, revoke };
      };

      const first = await signIn();
      const second = await signIn();
      await until("answered from memory", first.isKnown);
      await until("answered from memory", second.isKnown);
      let isEnded = false;
      cache.watch(first.session, () => isEnded = true);
      await first.revoke();
      await until("the notification", () => isEnded);
      assert.equal(await first.validate(), "revoked");

      const before = await listeners();
      assert.equal(before.length, 1);
      await db.sql`select pg_terminate_backend(${before[0]!})`;
      await until("listens again", async () => {
        const [pid] = await listeners();
        return pid !== undefined && pid !== before[0];
      });
      await until("answered from memory again", second.isKnown);
      isEnded = false;
      cache.watch(second.session, () => isEnded = true);
      await second.revoke();
      await until("the notification", () => isEnded);
      assert.equal(await second.validate(), "revoked");

      await cache.close();
      assert.equal(cache.stats().staleness, Infinity);
      // postgres.js keeps the connection for the next channel, until its end.
      if (name === "postgres.ts") await loaded.get(name)!.sql!.end();
      await until("the connection is closed", async () => (await listeners()).length === 0);
    });
  });
}
