import { driverError } from "./errors.ts";
import {
  abandon,
  isNotSupported,
  requireSql,
  rowsOf,
  type Sql,
  type SqlValue,
  type Statement,
} from "./sql.ts";
import { CREATE, CREATE_MANY, INSERT, INSERT_MANY, VALIDATE, VALIDATE_MANY } from "./statements.ts";

/** A statement for one call, and the one for many calls. */
interface Kind {
  readonly one: Statement;
  readonly many: Statement;
}

/** The kinds that share a queue, and so its concurrency. */
const QUEUES: readonly (readonly Kind[])[] = [
  [{ one: VALIDATE, many: VALIDATE_MANY }],
  [{ one: CREATE, many: CREATE_MANY }, { one: INSERT, many: INSERT_MANY }],
];

// Two, so that one is on its way while the server works on the other.
const BATCH_CONCURRENCY = 2;
const MAX_BATCH_CALLS = 128;
// If every statement that may be in flight is free, what waits is split among them: callers that were
// answered together come back together, and else app and server would take turns. Fewer calls than these
// are not worth a flush of their own.
const MIN_BATCH_CALLS = 8;
// Of calls that are sent alone: one that waits for a lock must not hold up the next.
const SINGLE_CONCURRENCY = 8;
const MAX_QUEUED_CALLS = 10_000;

// Of the classes of PostgreSQL 18, appendix A: a server that is overloaded, unreachable or out of time,
// or without our schema. All others may be about one of the calls alone, and the statement was rolled
// back as a whole, so that each call may be sent alone.
const ABOUT_ALL = /^(08|25|3F|53|57|58|XX|42P01|42703)/;

/**
 * Makes a client that sends concurrent calls of the same function as one statement.
 *
 * The first call is sent at once, as it would be without this; those that come while two statements are
 * in flight queue, and are sent together as soon as one is back. Nothing waits for a timer, and a single
 * call costs what it did. With 64 calls in flight a server does several times the work: two round trips,
 * two parses and two flushes to disk for all of them.
 *
 * `validateSession`, `createSession` and `insertSession` gain; every other statement passes through. If a
 * statement for many calls fails for what one of them asked, each is sent alone, and only that one fails.
 * On a server that does not support it (Citus) every call is sent alone. A call that has waited for
 * `queryTimeout` is dropped, unless it was sent before. Call `batched` once, with a pool. It is not for a
 * transaction, whose statements would be sent beside it; pass a transaction to the functions as it is.
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
 * const results = await Promise.all(Array.from({ length: 64 }, () => validateSession(request, sql)));
 * assert.ok(results.every(({ session }) => session?.username === "ada"));
 * await pool.end();
 * ```
 *
 * @param sql The SQL client: a pool.
 * @returns A client for the functions. Its queue holds 10,000 calls of a function; further ones fail with
 * `STORE_UNAVAILABLE`.
 * @throws {TypeError} If `sql` is not a function.
 */
export function batched(sql: Sql): Sql {
  requireSql("batched", sql);
  const queues = new Map(QUEUES.flatMap((kinds) => openQueue(sql, kinds)));
  return (strings, ...values) => queues.get(strings)?.(values) ?? sql(strings, ...values);
}

type Answer = Awaited<ReturnType<Sql>>;

/** A call that has not been answered. */
interface QueuedCall {
  readonly kind: Kind;
  /** In the order of their numbers, as the statement for many reads them. */
  readonly values: readonly SqlValue[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  isAbandoned: boolean;
  /** Tells the batch that it was sent in that its caller does not wait any more. */
  onAbandon?: () => void;
}

/** Opens a queue; returns for each kind the text of its calls, and what enqueues one. */
function openQueue(sql: Sql, kinds: readonly Kind[]) {
  const unsupported = new Set<Kind>();

  const singles = openSender(SINGLE_CONCURRENCY, ([first]) => [first!], async ([call]) => {
    const { kind: { one }, values, resolve, reject } = call!;
    try {
      resolve(await sql(one.strings, ...one.order.map((number) => values[number - 1] as SqlValue)));
    } catch (error) {
      reject(error);
    }
  });

  const batches = openSender(BATCH_CONCURRENCY, chooseBatch, async (calls) => {
    const [{ kind }] = calls as [QueuedCall];
    if (calls.length === 1) return await singles.send(calls);
    if (unsupported.has(kind)) return calls.forEach(singles.push);
    try {
      const json = JSON.stringify(calls.map(({ values }) => values));
      resolveEach(calls, await sql(kind.many.strings, json));
    } catch (error) {
      if (isNotSupported(error)) unsupported.add(kind);
      const isAboutAll = ABOUT_ALL.test(driverError(error).sqlstate ?? "08");
      for (const call of calls) {
        if (isAboutAll) call.reject(error);
        else singles.push(call);
      }
    }
  });

  return kinds.map((kind) => {
    const { strings, order } = kind.one;
    const enqueue = (parameters: readonly SqlValue[]): PromiseLike<Answer> => {
      if (batches.length() >= MAX_QUEUED_CALLS) {
        const full = new Error("The queue is full");
        return Promise.reject(Object.assign(full, { code: "QUEUE_FULL" }));
      }
      const values: SqlValue[] = [];
      order.forEach((number, place) => values[number - 1] = parameters[place] as SqlValue);
      let call: QueuedCall;
      const answer = new Promise<Answer>((resolve, reject) => {
        call = { kind, values, resolve, reject, isAbandoned: false };
        batches.push(call);
      });
      return Object.assign(answer, {
        [abandon]() {
          call.isAbandoned = true;
          call.onAbandon?.();
        },
      });
    };
    return [strings, enqueue] as const;
  });
}

/** Chooses the next batch: the first call, and others of its kind. */
function chooseBatch(queue: readonly QueuedCall[], free: number): QueuedCall[] {
  const shares = Math.min(free, Math.floor(queue.length / MIN_BATCH_CALLS)) || 1;
  const length = Math.min(Math.ceil(queue.length / shares), MAX_BATCH_CALLS);
  return queue.filter(({ kind }) => kind === queue[0]!.kind).slice(0, length);
}

/** Sends queued calls in their order: up to `concurrency` statements at a time. */
function openSender(
  concurrency: number,
  choose: (queue: readonly QueuedCall[], free: number) => QueuedCall[],
  send: (calls: QueuedCall[]) => Promise<void>,
) {
  let queue: QueuedCall[] = [];
  let inFlight = 0;
  let isScheduled = false;

  // What comes within the same turn is sent together.
  function schedule(): void {
    if (isScheduled || queue.length === 0 || inFlight === concurrency) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      queue = queue.filter((call) => !call.isAbandoned);
      while (queue.length > 0 && inFlight < concurrency) {
        const calls = new Set(choose(queue, concurrency - inFlight));
        queue = queue.filter((call) => !calls.has(call));
        void sendNext([...calls]);
      }
    });
  }

  async function sendNext(calls: QueuedCall[]): Promise<void> {
    inFlight++;
    // Until it is answered, or the last of its callers has stopped waiting.
    await new Promise<void>((resolve) => {
      let waiting = calls.length;
      for (const call of calls) {
        call.onAbandon = () => {
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
    length: () => queue.length,
    push(call: QueuedCall) {
      queue.push(call);
      schedule();
    },
  };
}

/** Gives each call the rows that bear its number, as the statement for one would have returned them. */
function resolveEach(calls: readonly QueuedCall[], answer: Answer): void {
  const own = new Map(calls.map(({ values: [number] }): [unknown, unknown[]] => [number, []]));
  for (const row of rowsOf(answer) ?? [undefined]) {
    const rows = own.get(Object.values(row ?? {})[0]);
    // A row of none of these calls: no call can trust its rows, so each gets one that is refused.
    if (!rows) return calls.forEach(({ resolve }) => resolve([undefined]));
    rows.push(row);
  }
  calls.forEach(({ values: [number], resolve }) => resolve(own.get(number)!));
}
