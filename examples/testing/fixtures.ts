import { test as base } from "@playwright/test";
import { createSession } from "coatcheck";
import { storageStateOf } from "coatcheck/testing";
import process from "node:process";
import postgres from "postgres";

export { expect } from "@playwright/test";

export const sql = postgres(process.env.DATABASE_URL!, { max: 1 });

/** A test whose browser is signed in: each worker as a user of its own, each test with its own session. */
export const test = base.extend({
  storageState: async ({ baseURL }, use, { parallelIndex }) => {
    const user = ["ada", "grace"][parallelIndex]!;
    await use(storageStateOf(await createSession(user, sql), baseURL!));
  },
});
