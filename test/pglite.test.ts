import { afterAll, describe, test } from "bun:test";
import { conformance } from "../conformance.ts";
import { openPGlite } from "./runner/clients.ts";

// A file of its own, beside the others: a database in this very process holds up what else is in it.
describe("through PGlite", () => conformance({ test, afterAll, open: openPGlite }));
