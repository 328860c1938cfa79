// What the tests take from bun:test, by the names it has there, for Deno and Node.
export { after as afterAll, before as beforeAll, describe, test } from "node:test";
