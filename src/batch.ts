import { driverError } from "./errors.ts";
import {
  abandon,
  afterLoss,
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
// If both statements are free, the queue is split between them: callers that were answered at the same time
// call again at the same time, and app and server would take turns. Fewer calls than these are not worth a
// commit of their own.
const MIN_BATCH_CALLS = 8;
// For calls that are sent by themselves: one that waits for a lock must not delay the next one.
const SINGLE_CONCURRENCY = 8;
const MAX_QUEUED_CALLS = 10_000;

// Classes and codes of PostgreSQL 18, appendix A: a server that is overloaded, unreachable or out of time, or
// without our schema. All others may be about one of the calls. The statement was rolled back as a whole, so
// each call can be sent again by itself.
const ABOUT_ALL = /^(08|25|3F|53|57|58|XX|42P01|42703|42704)/;

/**
 * Wraps a SQL client so that concurrent calls of the same function are sent as one statement.
 *
 * It batches `validateSession`, `createSession` and `insertSession`, and passes every other statement
 * through. A call is sent at once if fewer than two statements are in flight. Calls that arrive meanwhile are
 * queued, and sent together as soon as one of the two is answered, at most 128 in a statement. No call waits
 * for a timer. A call whose `queryTimeout` is over leaves the queue. Validations have a queue of their own,
 * with two statements of their own.
 *
 * If a batch fails because of one call, it was rolled back, and each call is sent again by itself. The same
 * happens after 20 ms of waiting for a locked user row, and on a server that does not support the
 * statement (Citus). If the server is overloaded or unreachable, every call of the batch fails.
 *
 * Call it once for each pool; 2 to 4 connections are enough. Do not pass a transaction of a batched client to
 * the functions, nor wrap a transaction: pass a transaction of the client beneath it.
 *
 * @example
 * ```ts
 * import { batched, createSession, validateSession } from "coatcheck";
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
 * @returns A client to pass to the functions. If 10,000 calls are queued, a further call fails with
 * `STORE_UNAVAILABLE`.
 * @throws {TypeError} If `sql` is not a function, or not one that can be a tag.
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
  /** In the order of their numbers, as the statement for many calls reads them. */
  readonly values: readonly SqlValue[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  isAbandoned: boolean;
  /** Reports to the batch with this call that its caller no longer waits. */
  onAbandon?: () => void;
}

/** Opens a queue; returns for each kind the text of its calls, and the function that enqueues one. */
function openQueue(sql: Sql, kinds: readonly Kind[]) {
  const unsupported = new Set<Kind>();

  const singles = openSender(SINGLE_CONCURRENCY, ([first]) => [first!], async ([call]) => {
    const { kind: { one }, values, resolve, reject } = call!;
    try {
      resolve(await sql(one.strings, ...one.order.map((number) => values[number - 1] as SqlValue)));
    } catch (error) {
      await afterLoss(error);
      reject(error);
    }
  });

  const batches = openSender(BATCH_CONCURRENCY, chooseBatch, async (calls) => {
    const [{ kind }] = calls as [QueuedCall];
    if (calls.length === 1) return await singles.send(calls);
    if (unsupported.has(kind)) return calls.forEach((call) => singles.push(call));
    try {
      const json = JSON.stringify(calls.map(({ values }) => values));
      resolveEach(calls, await sql(kind.many.strings, json));
    } catch (error) {
      await afterLoss(error);
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
  let abandoned = 0;
  let inFlight = 0;
  let isScheduled = false;

  function dropAbandoned(): void {
    queue = queue.filter((call) => !call.isAbandoned);
    abandoned = 0;
  }

  // Calls of the same turn are sent in one batch.
  function schedule(): void {
    if (isScheduled || queue.length === 0 || inFlight === concurrency) return;
    isScheduled = true;
    queueMicrotask(() => {
      isScheduled = false;
      dropAbandoned();
      while (queue.length > 0 && inFlight < concurrency) {
        const calls = new Set(choose(queue, concurrency - inFlight));
        queue = queue.filter((call) => !calls.has(call));
        void sendNext([...calls]);
      }
    });
  }

  async function sendNext(calls: QueuedCall[]): Promise<void> {
    inFlight++;
    // Until it is answered, or every caller has abandoned its call.
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
    length: () => queue.length - abandoned,
    push(call: QueuedCall) {
      queue.push(call);
      // Its place is free at once, also while no statement is answered. Half of the queue at a time, so that
      // each call is looked at twice at most.
      call.onAbandon = () => {
        if (++abandoned * 2 > queue.length) dropAbandoned();
      };
      schedule();
    },
  };
}

/** Gives each call the rows with its number, as the statement for one call would have returned them. */
function resolveEach(calls: readonly QueuedCall[], answer: Answer): void {
  const own = new Map(calls.map(({ values: [number] }): [unknown, unknown[]] => [number, []]));
  for (const row of rowsOf(answer) ?? [undefined]) {
    const rows = own.get(Object.values(row ?? {})[0]);
    // A row with another number: no call can trust its rows, so each gets one that is refused.
    if (!rows) return calls.forEach(({ resolve }) => resolve([undefined]));
    rows.push(row);
  }
  calls.forEach(({ values: [number], resolve }) => resolve(own.get(number)!));
}
