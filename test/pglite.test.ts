import { afterAll, describe, test } from "bun:test";
import { conformance } from "../conformance.ts";
import { openPGlite } from "./runner/clients.ts";

// In a file of its own: a database in this process blocks everything else in it.
describe("through PGlite", () => conformance({ test, afterAll, open: openPGlite }));
