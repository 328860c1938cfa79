import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import process from "node:process";
import { isDeepStrictEqual } from "node:util";
import postgres from "postgres";
import {
  batched,
  createSession,
  createToken,
  insertSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  type RevokeTarget,
  rotateSession,
  SessionError,
  type SessionEvent,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import * as model from "./runner/model.ts";
import type { Asked, Outcome, Presented, Rules, Token, World } from "./runner/model.ts";

// MODEL_STEPS asks for a longer run; MODEL_SEED repeats one that failed.
const steps = numberOf("MODEL_STEPS", 1000);
const seed = numberOf("MODEL_SEED", crypto.getRandomValues(new Uint32Array(1))[0]!);

// In separate runs, so that few steps repeat a failure.
const STEPS_PER_RUN = 500;
const STEPS_PER_LOOK_AROUND = 25;

// Every timeout is 500 seconds beside a multiple of 1000, and time passes in multiples of 1000, so that
// the seconds that a run takes change no result.
const ORDINARY: Rules = {
  idleTimeout: 3500,
  absoluteTimeout: 9500,
  rotationGrace: 500,
  touchInterval: 500,
  rotateAfter: false,
  maxSessions: false,
};
const STRICT: Rules = { ...ORDINARY, idleTimeout: 1500, absoluteTimeout: 5500 };
const ROTATING: Rules = { ...ORDINARY, rotateAfter: 1500 };
const READING: Rules = { ...ORDINARY, touchInterval: false };
const rulesNames = new Map([[STRICT, ", strictly"], [ROTATING, ", rotating when due"]]);

interface Client {
  readonly sql: Sql;
  readonly begin: (work: (transaction: Sql) => Promise<unknown>) => Promise<unknown>;
}

let db: Database;
let pools: postgres.Sql[];
// Each stands for a process of its own.
let clients: Client[];

beforeAll(async () => {
  db = await openDatabase();
  await db.sql`alter table users add column away boolean not null default false`;
  await db.sql`create or replace view coatcheck.users as
    select id, username from users where not away`;
  pools = [1, 2].map(() => postgres(db.url, { max: 2, onnotice: () => {} }));
  const own = [...pools, ...Object.values(db.clients)] as (Sql & Client)[];
  clients = own.map((sql) => ({ sql, begin: (work) => sql.begin(work) }));
  clients.push({ ...clients[0]!, sql: batched(pools[0]!) });
});
afterAll(async () => {
  for (const pool of pools) await pool.end({ timeout: 5 });
  await db.close();
});

describe("a random sequence of calls", () => {
  console.log(replayOf(seed, steps));
  for (let start = 0; start < steps; start += STEPS_PER_RUN) {
    const count = Math.min(STEPS_PER_RUN, steps - start);
    const which = `steps ${start + 1} to ${start + count}`;
    test(`agrees with the model: ${which}`, async () => {
      await play((seed + start / STEPS_PER_RUN) % 2 ** 32, count);
    });
  }
});

function replayOf(seed: number, steps: number): string {
  return `Replay: MODEL_SEED=${seed} MODEL_STEPS=${steps} npm test -- model`;
}

function numberOf(name: string, otherwise: number): number {
  const text = process.env[name];
  if (!text) return otherwise;
  if (!/^\d+$/.test(text)) throw new Error(`${name} must be a number`);
  return Number(text);
}

// ── A run ────────────────────────────────────────────────────────────────────────────────────────

interface Run {
  readonly world: World;
  readonly random: Random;
  readonly browsers: readonly Browser[];
  /** What the model calls a session, by its id, and back. */
  readonly names: Map<string, string>;
  readonly ids: Map<string, string>;
  /** What the model calls a token, by the value of its cookie, and back: all that were seen. */
  readonly tokens: Map<string, Token>;
  readonly values: Map<Token, string>;
  /** The table as the last step left it. */
  table: Table;
  events: SessionEvent[];
  readonly story: string[];
}

interface Browser {
  readonly name: string;
  readonly isThief: boolean;
  cookie: Presented;
}

async function play(seed: number, count: number): Promise<void> {
  const users = ["ada", "grace", "eve", "mallory"].map((name, index) => ({ id: index + 1, name }));
  await db.sql`truncate coatcheck.sessions, users`;
  for (const { id, name } of users) {
    await db.sql`insert into users (id, username) values (${id}, ${name})`;
  }
  const browsers = ["laptop", "phone", "tablet", "thief", "other thief"];
  const run: Run = {
    world: {
      now: 0,
      between: () => {},
      afterSecond: () => {},
      users: new Map(users.map(({ id, name }) => [id, { name, inView: true }])),
      rows: [],
      events: [],
      names: 0,
    },
    random: randomOf(seed),
    browsers: browsers.map((name) => ({ name, isThief: /thief/.test(name), cookie: "absent" })),
    names: new Map(),
    ids: new Map(),
    tokens: new Map(),
    values: new Map(),
    table: new Map(),
    events: [],
    story: [],
  };
  for (let step = 1; step <= count; step++) {
    run.world.now++;
    run.story.push(`${step}. `);
    try {
      await takeStep(run);
      if (step % STEPS_PER_LOOK_AROUND === 0 || step === count) await lookAround(run);
    } catch (error) {
      const parts = [
        `Seed ${seed} contradicts the model at step ${step}`,
        run.story.slice(-20).join("\n"),
        (error as Error).message,
        replayOf(seed, count),
      ];
      throw new Error(parts.join("\n\n"), { cause: error });
    }
  }
}

/** Writes a line of the story, from which a contradiction is understood. */
function say(run: Run, text: string): void {
  run.story[run.story.length - 1] += text;
}

// ── A step ───────────────────────────────────────────────────────────────────────────────────────

async function takeStep(run: Run): Promise<void> {
  const { random } = run;
  const browser = random.pick(run.browsers);
  // Most steps should be about a session that exists.
  if (!isSignedIn(run, browser)) {
    if (random.chance(0.1)) return await act(run, signOut(run, browser));
    if (random.chance(0.8)) {
      return browser.isThief ? steal(run, browser) : await act(run, signIn(run, browser));
    }
  }
  await random.weighted<() => unknown>([
    [4, () => act(run, signIn(run, browser))],
    [30, () => act(run, validate(run, browser))],
    [20, () => act(run, rotate(run, browser))],
    [3, () => act(run, reauthenticate(run, browser))],
    [8, () => act(run, update(run, browser))],
    [3, () => act(run, signOut(run, browser))],
    [3, () => act(run, revokeMany(run))],
    [2, () => act(run, list(run))],
    [2, () => act(run, sweep(run))],
    [2, () => act(run, insert(run, browser))],
    [13, () => ageRows(run)],
    [5, () => steal(run, random.pick(run.browsers.filter(({ isThief }) => isThief)))],
    [3, () => changeUser(run)],
  ])();
}

/** A call with its arguments, for the model and for the library. */
interface Action {
  readonly text: string;
  readonly predict: () => Outcome;
  readonly perform: (sql: Sql, options: Options) => Promise<object>;
  readonly rules?: Rules;
  /** The browser that gets the cookie of the answer. */
  readonly browser?: Browser;
  /** The name of a session that another process may change between two statements. */
  readonly about?: string | undefined;
  /** The weight of that. */
  readonly interruptions?: number;
  /** Whether the model knows what a failure of the second statement leaves. */
  readonly mayLoseSecond?: boolean;
  readonly never?: readonly Fate[];
}

type Options = Rules & { readonly onEvent: (event: SessionEvent) => void };

const ANSWERED = "answered";
const UNHEARD = "the browser does not get the answer";
const CUT = "the process does not get the answer to its statement";
const CUT_SECOND = "the process does not get the answer to its second statement";
const INTERRUPTED = "interrupted before its second statement";
const COMMITTED = "in a transaction";
const ROLLED_BACK = "in a transaction that is rolled back";
type Fate =
  | typeof ANSWERED
  | typeof UNHEARD
  | typeof CUT
  | typeof CUT_SECOND
  | typeof INTERRUPTED
  | typeof COMMITTED
  | typeof ROLLED_BACK;

async function act(run: Run, action: Action): Promise<void> {
  const { world, random } = run;
  const { text, rules = ORDINARY, browser, about, interruptions = 30, never = [] } = action;
  const { mayLoseSecond = false } = action;
  const fates: [number, Fate][] = [
    [45, ANSWERED],
    [browser ? 8 : 0, UNHEARD],
    [6, CUT],
    [mayLoseSecond ? 12 : 0, CUT_SECOND],
    [about ? interruptions : 0, INTERRUPTED],
    [4, COMMITTED],
    [8, ROLLED_BACK],
  ];
  const fate = random.weighted(fates.filter(([, fate]) => !never.includes(fate)));
  const client = random.pick(clients);
  const other = about && fate === INTERRUPTED ? interrupt(run, about) : undefined;
  const circumstances = other ? `${fate}: ${other.text}` : fate;
  say(run, `${text}${rulesNames.get(rules) ?? ""} (${circumstances})`);

  const before = world.rows.map((row) => ({ ...row }));
  world.events = [];
  let otherExpected: Outcome | undefined;
  let isBetween = false;
  let isCut = fate === CUT;
  world.between = () => {
    if (fate === CUT) throw cut;
    // Once: a third statement may follow, and the other call may send two itself.
    if (isBetween) return;
    isBetween = true;
    world.now += 0.5;
    otherExpected = other?.predict();
  };
  world.afterSecond = () => {
    if (fate !== CUT_SECOND) return;
    isCut = true;
    throw cut;
  };
  let expected = predict(world, action);
  if (isCut) {
    expected = { error: "STORE_UNAVAILABLE" };
    world.events = [];
  }

  run.events = [];
  const onEvent = (event: SessionEvent) => void run.events.push(event);
  let otherResult: object | undefined;
  const result = await meet(
    fate,
    client,
    (sql) => action.perform(sql, { ...rules, onEvent }),
    async () => {
      otherResult = await other?.perform(clients[0]!.sql, { ...ORDINARY, onEvent });
    },
  );
  same(!!otherResult, !!otherExpected, "Whether a second statement is sent");
  if (otherResult && otherExpected) compare(run, otherResult, otherExpected);
  compare(run, result, expected);
  compareEvents(run);

  if (fate === ROLLED_BACK) world.rows = before;
  await compareTable(run, before);
  // The answer may have been sent before the commit failed.
  const isHeard = fate === ROLLED_BACK ? random.chance(0.5) : fate !== UNHEARD;
  hear(run, expected, isHeard ? browser : undefined);
  if (otherExpected) hear(run, otherExpected, other?.browser);
}

const cut = new Error("Cut");

function predict(world: World, action: Action): Outcome {
  try {
    return action.predict();
  } catch (error) {
    if (error !== cut) throw error;
    return {};
  } finally {
    world.between = world.afterSecond = () => {};
  }
}

async function meet(
  fate: Fate,
  { sql, begin }: Client,
  perform: (sql: Sql) => Promise<object>,
  between: () => Promise<void>,
): Promise<object> {
  const answer = (sql: Sql) =>
    perform(sql).catch((error: unknown) => {
      if (error instanceof SessionError) return error;
      throw error;
    });
  if (fate === CUT || fate === CUT_SECOND) {
    let statements = 0;
    return await answer(async (strings, ...values) => {
      const rows = await sql(strings, ...values);
      if (++statements !== (fate === CUT ? 1 : 2)) return rows;
      throw Object.assign(new Error("The connection is gone"), { code: "ECONNRESET" });
    });
  }
  if (fate === INTERRUPTED) {
    let statements = 0;
    return await answer(async (strings, ...values) => {
      statements++;
      if (statements === 2) await between();
      return await sql(strings, ...values);
    });
  }
  if (fate === ANSWERED || fate === UNHEARD) return await answer(sql);
  let result: object;
  const undone = new Error("Undone");
  await begin(async (transaction) => {
    result = await answer(transaction);
    if (fate === ROLLED_BACK) throw undone;
  }).catch((error: unknown) => {
    if (error !== undone) throw error;
  });
  return result!;
}

function hear(run: Run, { cookie }: Outcome, browser: Browser | undefined): void {
  if (cookie === undefined) return;
  if (cookie !== "cleared") requireCommitted(run, cookie.token);
  if (browser) browser.cookie = cookie === "cleared" ? "absent" : cookie.token;
}

// ── The functions ────────────────────────────────────────────────────────────────────────────────

function signIn(run: Run, browser: Browser): Action {
  const { world, random } = run;
  const there = [...world.users.keys()].filter((id) => world.users.get(id)!.inView);
  const userId = there.length > 0 && random.chance(0.7) ? random.pick(there) : anyUser(random);
  const username = random.chance(0.1) ? undefined : world.users.get(userId)?.name;
  const user = random.chance(0.3) ? userId : username ?? "nobody";
  const replaces = random.chance(0.3) ? "absent" : present(run, browser);
  const persistent = random.chance(0.7);
  const data = randomData(random);
  const maxSessions = random.weighted<number | false>([[25, false], [1, 1], [2, 2], [2, 3]]);
  const rules = { ...ORDINARY, maxSessions };
  const replaced = typeof replaces === "object" && run.ids.has(replaces.of)
    ? replaces.of
    : undefined;
  const last = world.rows.findLast((row) => row.userId === userId)?.name;
  return {
    text: `${browser.name} signs in as ${user}, replaces ${nameOf(replaces)}` +
      (maxSessions ? `, with at most ${maxSessions} sessions` : ""),
    predict: () => model.createSession(world, user, rules, { data, persistent, replaces }),
    perform: (sql, options) =>
      createSession(typeof user === "string" ? user : { userId: user }, sql, {
        ...options,
        data,
        persistent,
        replaces: headersOf(run, replaces),
      }),
    rules,
    browser,
    about: random.chance(0.5) ? replaced ?? last : last,
    mayLoseSecond: true,
  };
}

function insert(run: Run, browser: Browser): Action {
  const { world, random } = run;
  const userId = anyUser(random);
  const ago = 1000 * Math.floor(random.next() * 4);
  const lasts = random.pick([2500, 5500, 9500]);
  const taken = random.chance(0.3) && world.rows.length > 0 ? random.pick(world.rows) : undefined;
  const data = randomData(random);
  const made = createToken();
  const id = taken ? run.ids.get(taken.name)! : made.id;
  return {
    text: `${browser.name} brings a session of user ${userId}` +
      (taken ? ` by the id of ${taken.name}` : ""),
    predict: () => {
      const createdAt = world.now - ago * 1000;
      const expiresAt = createdAt + lasts * 1000;
      const exists = taken !== undefined;
      const given = { userId, createdAt, expiresAt, data, exists };
      const outcome = model.insertSession(world, given, ORDINARY);
      const row = outcome.session ? world.rows.at(-1)! : undefined;
      if (!taken) nameSession(run, id, row?.name ?? `s${++world.names}`);
      const token = row?.current ?? model.makeToken(world, run.names.get(id)!);
      nameToken(run, `${id}.${made.secret}`, token);
      // insertSession issues no cookie: its caller has the token, even if the call fails.
      browser.cookie = token;
      return outcome;
    },
    perform: (sql, options) => {
      const createdAt = new Date(Date.now() - ago * 1000);
      const expiresAt = new Date(createdAt.getTime() + lasts * 1000);
      const record = { id, digest: made.digest, userId, createdAt, expiresAt, data };
      return insertSession(record, sql, options);
    },
    // The database rejects an id that exists, and aborts the transaction.
    never: taken ? [CUT, COMMITTED, ROLLED_BACK] : [],
  };
}

function validate(run: Run, browser: Browser): Action {
  const { random } = run;
  const within = random.weighted<number | undefined>([
    [8, undefined],
    [1, 0],
    [1, 1500],
    [1, 4500],
  ]);
  return presenting(run, browser, {
    does: "validates",
    how: within === undefined ? "" : `, authenticated within ${within} s`,
    predict: (presented, rules) => model.validateSession(run.world, presented, rules, within),
    perform: (headers, sql, options) =>
      validateSession(headers, sql, {
        ...options,
        ...(within !== undefined && { authenticatedWithin: within }),
      }),
  });
}

function rotate(run: Run, browser: Browser): Action {
  return presenting(run, browser, {
    does: "rotates",
    predict: (presented, rules) => model.rotateSession(run.world, presented, rules),
    perform: rotateSession,
  });
}

function reauthenticate(run: Run, browser: Browser): Action {
  return presenting(run, browser, {
    does: "reauthenticates",
    predict: (presented, rules) => model.reauthenticateSession(run.world, presented, rules),
    perform: reauthenticateSession,
  });
}

function update(run: Run, browser: Browser): Action {
  const { world, random } = run;
  const patch = { ...randomData(random), [random.pick(["a", "b", "c"])]: undefined };
  const difference = random.pick([undefined, undefined, undefined, 0, 0, 0, 1, -1]);
  let version: number | undefined;
  return presenting(run, browser, {
    does: "updates",
    how: difference === undefined ? "" : `, with a version that is ${difference} off`,
    predict: (presented, rules) => {
      const row = world.rows.find(({ name }) =>
        typeof presented === "object" && presented.of === name
      );
      version = difference === undefined
        ? undefined
        : Math.max(0, (row?.version ?? 0) + difference);
      return model.updateSession(world, presented, patch, rules, version);
    },
    perform: (headers, sql, options) =>
      updateSession(headers, patch, sql, { ...options, ...(version !== undefined && { version }) }),
  });
}

function signOut(run: Run, browser: Browser): Action {
  return presenting(run, browser, {
    does: "signs out",
    predict: (presented) => model.revokeSession(run.world, presented, "left"),
    perform: (headers, sql, options) => revokeSession(headers, sql, { ...options, reason: "left" }),
  });
}

function presenting(
  run: Run,
  browser: Browser,
  { does, how = "", predict, perform }: {
    does: string;
    how?: string;
    predict: (presented: Presented, rules: Rules) => Outcome;
    perform: (headers: Headers, sql: Sql, options: Options) => Promise<object>;
  },
): Action {
  const presented = present(run, browser);
  const rules = run.random.weighted([[6, ORDINARY], [1, STRICT], [3, ROTATING]]);
  return {
    text: `${browser.name} ${does} ${nameOf(presented)}${how}`,
    predict: () => predict(presented, rules),
    perform: (sql, options) => perform(headersOf(run, presented), sql, options),
    rules,
    browser,
    about: typeof presented === "object" && run.ids.has(presented.of) ? presented.of : undefined,
    interruptions: isRefusedAsReused(run, presented) ? 90 : 30,
    never: typeof presented === "string" ? [CUT] : [],
  };
}

function revokeMany(run: Run): Action {
  const { world, random } = run;
  const live = world.rows.filter(({ revokedAt }) => revokedAt === null);
  const row = random.chance(0.8) && live.length > 0 ? random.pick(live) : undefined;
  const name = row?.name ?? (run.ids.size > 0 ? random.pick([...run.ids.keys()]) : undefined);
  const userId = row && random.chance(0.7) ? row.userId : anyUser(random);
  const otherId = anyUser(random);
  const id = (name && run.ids.get(name)) ?? crypto.randomUUID();
  const named = (key: "id" | "except") => ({ userIds: [userId], ...(name && { [key]: name }) });
  const one = { words: `${name} of user ${userId}`, target: { userId, id }, asked: named("id") };
  const all = {
    words: `all of user ${userId}`,
    target: { userId },
    asked: { userIds: [userId] },
  };
  const rest = {
    words: `all but ${name} of user ${userId}`,
    target: { userId, except: id },
    asked: named("except"),
  };
  const several = {
    words: `all of users ${userId} and ${otherId}`,
    target: { userIds: [userId, otherId, userId] },
    asked: { userIds: [userId, otherId] },
  };
  // As a form may spell it.
  const capitals = { ...one, target: { userId, id: id.toUpperCase() } };
  const { words, target, asked } = name
    ? random.weighted<{ words: string; target: RevokeTarget; asked: Asked }>([
      [2, one],
      [2, capitals],
      [3, rest],
      [1, several],
      [1, all],
    ])
    : all;
  // The order of the result is not specified: here it is the order of creation.
  const order = [...run.ids.values()];
  return {
    text: `an admin revokes ${words}`,
    predict: () => model.revokeSessions(world, asked, "revoked"),
    perform: async (sql, options) => {
      const revoked = await revokeSessions(target, sql, options);
      return revoked.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
    },
  };
}

function list(run: Run): Action {
  const { world, random } = run;
  const userId = anyUser(random);
  const rules = random.pick([ORDINARY, STRICT]);
  const own = world.rows.filter((row) => row.userId === userId);
  const after = own.length > 0 && random.chance(0.5) ? random.pick(own).name : undefined;
  const limit = random.chance(0.5) ? random.pick([1, 2, 3]) : undefined;
  const page = { ...(limit && { limit }), ...(after && { after }) };
  return {
    text: `an admin lists the sessions of user ${userId}, page ${JSON.stringify(page)}`,
    predict: () => model.listSessions(world, userId, rules, page),
    perform: (sql, options) =>
      listSessions(userId, sql, {
        ...options,
        ...page,
        ...(after && { after: run.ids.get(after)! }),
      }),
    rules,
  };
}

function sweep(run: Run): Action {
  const { world, random } = run;
  const retention = random.pick([0, 2500, 34_560_000]);
  const call = { retention, ...(random.chance(0.5) && { idleTimeout: 3500 }) };
  return {
    text: `a timer sweeps by ${JSON.stringify(call)}`,
    predict: () => model.sweepSessions(world, call),
    perform: (sql, { onEvent }) => sweepSessions(sql, { ...call, onEvent }),
    // A large table would need more statements.
    never: [CUT],
  };
}

/** What another process does to a session: revokes it, or gives it another secret. */
function interrupt(run: Run, about: string): Action {
  const { world, random } = run;
  const row = world.rows.find(({ name }) => name === about);
  const browser = random.pick(run.browsers);
  const token = row?.current;
  if (token && run.values.has(token) && random.chance(0.6)) {
    const [does, predict, perform] = random.pick([
      ["rotates", model.rotateSession, rotateSession] as const,
      ["reauthenticates", model.reauthenticateSession, reauthenticateSession] as const,
    ]);
    return {
      text: `${browser.name} ${does} ${token.name}`,
      predict: () => predict(world, token, ORDINARY),
      perform: (sql, options) => perform(headersOf(run, token), sql, options),
      browser,
    };
  }
  const userId = row?.userId ?? anyUser(random);
  const id = run.ids.get(about)!;
  return {
    text: `an admin revokes ${about} of user ${userId}`,
    predict: () => model.revokeSessions(world, { userIds: [userId], id: about }, "interrupted"),
    perform: (sql, options) =>
      revokeSessions({ userId, id }, sql, { ...options, reason: "interrupted" }),
  };
}

/** What a browser presents: mostly its cookie, else an older one or a forged one. */
function present(run: Run, { cookie }: Browser): Presented {
  const { random } = run;
  const known = [...run.tokens.values()];
  if (known.length === 0) return "absent";
  const of = typeof cookie === "object" ? cookie.of : undefined;
  const previous = run.world.rows.find(({ name }) => name === of)?.previous;
  const older = known.filter((token) => token.of === of);
  const isReused = previous && isRefusedAsReused(run, previous);
  const forge = () => {
    const of = random.pick([...run.ids.keys()]);
    const stolen = run.values.get(random.pick(known))!.slice(37);
    const secret = random.chance(0.5) ? createToken().secret : stolen;
    const value = `${run.ids.get(of)}.${secret}`;
    // The stolen secret may be that session's own.
    const token = run.tokens.get(value) ?? model.makeToken(run.world, of);
    nameToken(run, value, token);
    return token;
  };
  return random.weighted<() => Presented>([
    [69, () => cookie],
    [isReused ? 90 : 14, () => previous && run.values.has(previous) ? previous : cookie],
    [6, () => older.length > 0 ? random.pick(older) : cookie],
    [4, () => random.pick(known.slice(-20))],
    [4, () => random.pick(known)],
    [4, forge],
    [1, () => "absent"],
    [1, () => "malformed"],
  ])();
}

function isSignedIn(run: Run, { cookie }: Browser): boolean {
  return !!model.validateSession(run.world, cookie, READING).session;
}

/** The case that is rarest by chance, and that matters most: it gets more weight. */
function isRefusedAsReused(run: Run, presented: Presented): boolean {
  return model.validateSession(run.world, presented, READING).reason === "reused";
}

function anyUser(random: Random): number {
  return 1 + Math.floor(random.next() * 4);
}

function randomData(random: Random): Record<string, unknown> {
  const values = [0, "é", null, { deep: [1] }];
  return random.chance(0.3) ? {} : { [random.pick(["a", "b", "c"])]: random.pick(values) };
}

// ── Between the calls ────────────────────────────────────────────────────────────────────────────

function steal(run: Run, thief: Browser): void {
  const { world, random, values } = run;
  const { name, cookie } = random.pick(run.browsers.filter(({ isThief }) => !isThief));
  const previous = world.rows.find(({ current }) => current === cookie)?.previous;
  // As from a backup.
  const isOlder = random.chance(0.5) && previous && values.has(previous);
  thief.cookie = isOlder ? previous : cookie;
  say(run, `${thief.name} copies ${nameOf(thief.cookie)} from ${name}`);
}

async function ageRows(run: Run): Promise<void> {
  const { world, random } = run;
  const held = run.browsers.map(({ cookie }) => typeof cookie === "object" ? cookie.of : undefined);
  const own = world.rows.filter(({ name }) => held.includes(name));
  // So that a grace period ends before the session does.
  const rotated = own.filter(({ rotationSeenAt }) => rotationSeenAt !== null);
  const some = rotated.length > 0 && random.chance(0.6) ? rotated : own;
  const rows = some.length > 0 && random.chance(0.7) ? [random.pick(some)] : world.rows;
  const seconds = random.weighted([[60, 1000], [30, 2000], [6, 3000], [3, 4000], [1, 10_000]]);
  say(run, `${rows.length === 1 ? rows[0]!.name : "every session"} grows older by ${seconds} s`);
  model.age(rows, seconds);
  const ids = rows.map(({ name }) => run.ids.get(name)!);
  await db.sql`update coatcheck.sessions set
    created_at = created_at - make_interval(secs => ${seconds}),
    authenticated_at = authenticated_at - make_interval(secs => ${seconds}),
    last_seen_at = last_seen_at - make_interval(secs => ${seconds}),
    expires_at = expires_at - make_interval(secs => ${seconds}),
    rotated_at = rotated_at - make_interval(secs => ${seconds}),
    rotation_seen_at = rotation_seen_at - make_interval(secs => ${seconds}),
    revoked_at = revoked_at - make_interval(secs => ${seconds})
    where id = any(${ids}::uuid[])`;
  run.table = await readTable();
}

async function changeUser(run: Run): Promise<void> {
  const { world, random } = run;
  const missing = [1, 2, 3, 4].filter((id) => !world.users.get(id)?.inView);
  const id = missing.length > 0 && random.chance(0.8) ? random.pick(missing) : anyUser(random);
  const user = world.users.get(id);
  const change = random.weighted([[1, "deleted"], [2, "renamed"], [6, "moved"]]);
  if (!user) {
    const name = `newcomer ${world.now}`;
    say(run, `${name} becomes user ${id}`);
    await db.sql`insert into users (id, username) values (${id}, ${name})`;
    world.users.set(id, { name, inView: true });
  } else if (change === "deleted") {
    say(run, `user ${id} is deleted`);
    await db.sql`delete from users where id = ${id}`;
    model.deleteUser(world, id);
    run.table = await readTable();
  } else if (change === "renamed" && user.inView) {
    user.name = `${user.name}'`;
    say(run, `user ${id} is called ${user.name}`);
    await db.sql`update users set username = ${user.name} where id = ${id}`;
  } else {
    user.inView = !user.inView;
    say(run, `user ${id} ${user.inView ? "is back in" : "drops out of"} the view`);
    await db.sql`update users set away = ${!user.inView} where id = ${id}`;
  }
}

// ── The comparison ───────────────────────────────────────────────────────────────────────────────

/** Compares all at once: what every token that was seen opens, and each user's list. */
async function lookAround(run: Run): Promise<void> {
  const { world, random } = run;
  const rules = random.pick([READING, { ...READING, idleTimeout: STRICT.idleTimeout }]);
  const looks = [...run.tokens.values()].map((token) => ({
    text: `What ${token.name} opens`,
    expected: model.validateSession(world, token, rules),
    ask: (sql: Sql) => validateSession(headersOf(run, token), sql, rules),
  }));
  const lists = [1, 2, 3, 4].map((userId) => ({
    text: `The list of user ${userId}`,
    expected: model.listSessions(world, userId, rules),
    ask: (sql: Sql) => listSessions(userId, sql, rules),
  }));
  const all = [...looks, ...lists];
  const ask = async (index: number) => await all[index]!.ask(clients[index % clients.length]!.sql);
  const results = await Promise.all(all.map((_, index) => ask(index)));
  for (const [index, { text, expected }] of all.entries()) {
    compare(run, results[index]!, expected, text);
    if (typeof expected.cookie === "object") requireCommitted(run, expected.cookie.token);
  }
  await compareTable(run, world.rows);
}

function compare(run: Run, result: object, expected: Outcome, text?: string): void {
  // A new session gets the model's name.
  const newcomer = run.world.rows.find(({ name }) => !run.ids.has(name));
  const { session, headers } = result as { session?: { id: string } | null; headers?: Headers };
  if (newcomer && session && !run.names.has(session.id)) {
    nameSession(run, session.id, newcomer.name);
  }
  const { cookie } = expected;
  const value = headers && valueOf(headers);
  if (value && typeof cookie === "object" && !run.values.has(cookie.token)) {
    const isOurs = run.names.get(value.slice(0, 36)) === cookie.token.of;
    if (isOurs && !run.tokens.has(value)) nameToken(run, value, cookie.token);
  }
  const shown = typeof cookie === "object" ? { ...cookie, token: cookie.token.name } : cookie;
  same(show(run, result), { ...expected, cookie: shown }, text ?? "The result");
}

function compareEvents(run: Run): void {
  const emitted = run.events.map(({ id, ...event }) => {
    return model.eventText({ ...event, id: id && (run.names.get(id) ?? id) });
  });
  same(emitted.sort(), run.world.events.toSorted(), "The events");
}

/** The model has changed the rows that a step has changed, by their bytes, and no other. */
async function compareTable(run: Run, before: World["rows"]): Promise<void> {
  const { world } = run;
  const table = await readTable();
  const ids = new Set([...run.table.keys(), ...table.keys()]);
  const changed = [...ids].filter((id) => table.get(id)?.bytes !== run.table.get(id)?.bytes);
  run.table = table;
  for (const id of changed.filter((id) => !run.names.has(id))) {
    const newcomer = world.rows.find(({ name }) => !run.ids.has(name));
    if (newcomer) nameSession(run, id, newcomer.name);
  }
  const then = new Map(before.map((row) => [row.name, row]));
  const now = new Map(world.rows.map((row) => [row.name, row]));
  const names = new Set([...then.keys(), ...now.keys()]);
  const expected = [...names].filter((name) => !isDeepStrictEqual(then.get(name), now.get(name)));
  const actual = changed.map((id) => run.names.get(id) ?? id);
  same(actual.sort(), expected.sort(), "The rows that changed");
}

/** A cookie that was issued has its digest in a row, or else opens no session. */
function requireCommitted(run: Run, token: Token): void {
  const [id, secret] = run.values.get(token)!.split(".") as [string, string];
  const digest = createHash("sha256").update(secret, "base64url").digest("hex");
  const held = run.table.get(id)?.digests.includes(digest) ?? false;
  const isHeld = run.world.rows.some(({ current, previous }) =>
    [current, previous].includes(token)
  );
  same(held, isHeld, `Whether a row holds the digest of ${token.name}`);
}

function same(actual: unknown, expected: unknown, text: string): void {
  // An undefined property and a missing one are the same here.
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
  try {
    assert.deepEqual(plain(actual), plain(expected));
  } catch (error) {
    throw new Error(`${text} (+) and what the model says (-):\n${(error as Error).message}`);
  }
}

/** A result in the model's words. */
function show(run: Run, result: object): object {
  if (result instanceof SessionError) return { error: result.code };
  if (Array.isArray(result)) return { sessions: result.map((session) => see(run, session)) };
  if ("swept" in result) return result;
  if (!("headers" in result)) return { session: see(run, result) };
  const { session, headers, ...rest } = result as { session: object | null; headers: Headers };
  return { ...rest, session: session && see(run, session), cookie: showCookie(run, headers) };
}

function see(run: Run, session: object): object {
  const now = Date.now();
  return Object.fromEntries(
    Object.entries(session).map(([key, value]: [string, unknown]) => {
      if (value instanceof Date) return [key, model.rounded((value.getTime() - now) / 1000)];
      return [key, key === "id" ? run.names.get(String(value)) ?? value : value];
    }),
  );
}

function showCookie(run: Run, headers: Headers): object | string | undefined {
  const value = valueOf(headers);
  if (value === undefined) return undefined;
  if (value === "") return "cleared";
  const maxAge = headers.get("set-cookie")!.match(/; Max-Age=(\d+)/)?.[1];
  return {
    token: run.tokens.get(value)?.name ?? "unknown to the model",
    maxAge: maxAge && model.rounded(Number(maxAge)),
  };
}

function valueOf(headers: Headers): string | undefined {
  const cookies = headers.getSetCookie();
  assert.ok(cookies.length <= 1, "A result sets at most one cookie");
  return /^__Host-session=([^;]*)/.exec(cookies[0] ?? "")?.[1];
}

// ── Names ────────────────────────────────────────────────────────────────────────────────────────

function nameSession(run: Run, id: string, name: string): void {
  run.names.set(id, name);
  run.ids.set(name, id);
}

function nameToken(run: Run, value: string, token: Token): void {
  run.tokens.set(value, token);
  run.values.set(token, value);
}

function nameOf(presented: Presented): string {
  if (typeof presented === "object") return presented.name;
  return presented === "absent" ? "nothing" : "nonsense";
}

function headersOf(run: Run, presented: Presented): Headers {
  if (presented === "absent") return new Headers();
  const value = presented === "malformed" ? "nonsense" : run.values.get(presented);
  return new Headers({ cookie: `__Host-session=${value}` });
}

// ── The table and the generator ──────────────────────────────────────────────────────────────────

type Table = ReadonlyMap<string, { readonly bytes: string; readonly digests: readonly string[] }>;

async function readTable(): Promise<Table> {
  const rows = await db.sql<{ id: string; bytes: string; digests: string[] }[]>`
    select id, md5(s::text) as bytes,
      array[encode(digest, 'hex'), encode(previous_digest, 'hex')] as digests
    from coatcheck.sessions s`;
  return new Map(rows.map(({ id, ...row }) => [id, row]));
}

interface Random {
  /** From 0 to less than 1. */
  next(): number;
  chance(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  weighted<Item>(items: readonly (readonly [weight: number, item: Item])[]): Item;
}

/** mulberry32: the same numbers for the same seed on every runtime. */
function randomOf(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    chance: (probability) => next() < probability,
    pick: (items) => items[Math.floor(next() * items.length)]!,
    weighted: (items) => {
      let left = next() * items.reduce((sum, [weight]) => sum + weight, 0);
      return items.find(([weight]) => (left -= weight) < 0)![1];
    },
  };
}
