import {
  giveUp,
  requireSql,
  rowsOf,
  type Sql,
  sqlstateOf,
  type SqlValue,
  type Statement,
} from "./sql.ts";
import {
  INSERT,
  INSERT_MANY,
  REPLACE,
  REPLACE_MANY,
  VALIDATE,
  VALIDATE_MANY,
} from "./statements.ts";

/** A statement for one call, and the one for many of its kind. */
type Kind = readonly [one: Statement, many: Statement];

/** What gathers in one queue: of its kinds, each later one does for many what those before do, and more. */
const QUEUES: readonly (readonly Kind[])[] = [
  [[VALIDATE, VALIDATE_MANY]],
  [[INSERT, INSERT_MANY], [REPLACE, REPLACE_MANY]],
];

// Two, so that one is on its way while the server works on the other.
const MOST_TOGETHER = 2;
const LARGEST_BATCH = 128;
// Where all statements that may be under way are free, what waits is shared out among them: callers that
// were answered together come back together, and else app and server would take turns. Fewer than these
// are not worth a flush of their own.
const SMALLEST_SHARE = 8;
// Of those that are sent again, alone: one that waits for a lock must not hold up the next.
const MOST_APART = 8;
const LONGEST_QUEUE = 10_000;

// Of the classes of PostgreSQL 18, appendix A: a server that is overloaded, out of reach or out of time,
// or without our schema. All else may be about one of the calls alone, and the statement was rolled
// back as a whole, so that each may be sent again, alone.
const ABOUT_ALL = /^(08|25|3F|53|57|58|XX|42P01|42703)/;

/**
 * Makes a client that sends concurrent calls of the same verb as one statement.
 *
 * The first call leaves at once, as it would without this; those that come while two statements are
 * under way gather, and leave together as soon as one is back. So nothing waits for a timer, and a call
 * that is alone costs what it did. At 64 calls in flight a server does several times the work: two round
 * trips, two parses and two flushes to disk for all of them.
 *
 * `validateSession`, `createSession` and `insertSession` gain; every other statement passes through. One
 * call's failure is its own: where a statement for many fails for what one of them asked, each is sent
 * again, alone. A call that has waited for `queryTimeout` is dropped, unless it was sent before. Make it
 * once, of a pool. It is not for a transaction, whose statements would leave beside it; give that one to
 * the verbs as it is.
 *
 * @example
 * ```ts
 * import { batched, createSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const pool = postgres(process.env.DATABASE_URL!, { max: 4 });
 * const sql = batched(pool);
 * const { headers } = await createSession("ada", sql);
 * const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 * const visits = await Promise.all(Array.from({ length: 64 }, () => validateSession(request, sql)));
 * assert.ok(visits.every(({ session }) => session?.username === "ada"));
 * await pool.end();
 * ```
 *
 * @param sql The SQL client: a pool.
 * @returns A client for the verbs. Its queue holds 10,000 calls of a verb; further ones fail with
 * `STORE_UNAVAILABLE`.
 * @throws {TypeError} If `sql` is not a function.
 */
export function batched(sql: Sql): Sql {
  requireSql(sql);
  const queues = new Map(QUEUES.flatMap((kinds) => openQueue(sql, kinds)));
  return (strings, ...values) => queues.get(strings)?.(values) ?? sql(strings, ...values);
}

type Answer = Awaited<ReturnType<Sql>>;

/** A call that has not been answered. */
interface Call {
  /** The index of its kind in the queue. */
  readonly kind: number;
  /** In the order of their numbers, as the statement for many reads them. */
  readonly values: readonly SqlValue[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  /** Whether its caller has stopped waiting. */
  over: boolean;
  /** Tells the statement that it is under way in. */
  leave?: () => void;
}

/** Opens a queue; gives for each kind the text of its calls, and what puts one in. */
function openQueue(sql: Sql, kinds: readonly Kind[]) {
  const apart = openLane(MOST_APART, 1, async ([call]) => {
    const { kind, values, resolve, reject } = call!;
    const [one] = kinds[kind]!;
    try {
      resolve(await sql(one.strings, ...one.order.map((number) => values[number] as SqlValue)));
    } catch (error) {
      reject(error);
    }
  });

  const together = openLane(MOST_TOGETHER, LARGEST_BATCH, async (calls) => {
    if (calls.length === 1) return await apart.send(calls);
    const [, many] = kinds[Math.max(...calls.map(({ kind }) => kind))]!;
    try {
      deal(calls, await sql(many.strings, JSON.stringify(calls.map(({ values }) => values))));
    } catch (error) {
      const isAboutAll = ABOUT_ALL.test(sqlstateOf(error) ?? "08");
      for (const call of calls) {
        if (isAboutAll) call.reject(error);
        else apart.push(call);
      }
    }
  });

  return kinds.map(([one], kind) => {
    const enqueue = (parameters: readonly SqlValue[]): PromiseLike<Answer> => {
      if (together.isFull()) {
        const full = new Error("The queue is full");
        return Promise.reject(Object.assign(full, { code: "QUEUE_FULL" }));
      }
      const values: SqlValue[] = [];
      one.order.forEach((number, place) => values[number] = parameters[place] as SqlValue);
      let call: Call;
      const answer = new Promise<Answer>((resolve, reject) => {
        call = { kind, values, resolve, reject, over: false };
        together.push(call);
      });
      return Object.assign(answer, {
        [giveUp]() {
          call.over = true;
          call.leave?.();
        },
      });
    };
    return [one.strings, enqueue] as const;
  });
}

/** Calls that wait, and leave in their order: so many statements at a time, of so many calls each. */
function openLane(most: number, largest: number, send: (calls: Call[]) => Promise<void>) {
  let queue: Call[] = [];
  let inFlight = 0;
  let scheduled = false;

  // What comes within the same turn leaves together.
  function schedule(): void {
    if (scheduled || queue.length === 0 || inFlight === most) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      queue = queue.filter((call) => !call.over);
      while (queue.length > 0 && inFlight < most) {
        const shares = Math.min(most - inFlight, Math.floor(queue.length / SMALLEST_SHARE)) || 1;
        void leave(queue.splice(0, Math.min(Math.ceil(queue.length / shares), largest)));
      }
    });
  }

  async function leave(calls: Call[]): Promise<void> {
    inFlight++;
    // Until it is answered; or, where no answer comes, until the last of them has stopped waiting.
    await new Promise<void>((resolve) => {
      let waiting = calls.length;
      for (const call of calls) {
        call.leave = () => {
          if (--waiting === 0) resolve();
        };
      }
      void send(calls).then(resolve);
    });
    inFlight--;
    schedule();
  }

  return {
    send,
    isFull: () => queue.length >= LONGEST_QUEUE,
    push(call: Call) {
      queue.push(call);
      schedule();
    },
  };
}

/** Gives each call the rows that bear its number, as the statement for one would have answered. */
function deal(calls: readonly Call[], answer: Answer): void {
  const dealt = new Map(calls.map(({ values: [number] }): [unknown, unknown[]] => [number, []]));
  for (const row of rowsOf(answer) ?? [undefined]) {
    const text = Object.values(row ?? {})[0];
    const [number, json] = typeof text === "string" ? halves(text) : [];
    const own = dealt.get(number);
    // Not ours: whose was which cannot be told, so that nobody gets any.
    if (!own) return calls.forEach(({ resolve }) => resolve([undefined]));
    own.push({ json });
  }
  calls.forEach(({ values: [number], resolve }) => resolve(dealt.get(number)!));
}

/** What comes before the first space of a row, and what after it. */
function halves(text: string): [string, string] {
  const space = text.indexOf(" ");
  return [text.slice(0, space), text.slice(space + 1)];
}
