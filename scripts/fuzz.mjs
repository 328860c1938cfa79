// npm run test:fuzz: tries each property of test/fuzz.test.ts for 20 seconds on each runtime, with a random seed.
// FUZZ_SECONDS asks for another time, FUZZ_SEED for the seed of a run before.
import process from "node:process";

process.env.FUZZ_SECONDS ||= "20";
process.argv.splice(2, Infinity, "fuzz");
await import("./test.mjs");
