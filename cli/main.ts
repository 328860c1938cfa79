#!/usr/bin/env node
/**
 * The command line: `npx coatcheck doctor`. See docs/cli.md.
 *
 * @module
 */

import process from "node:process";
import { run } from "./run.ts";
import { openTerminal } from "./terminal.ts";

const terminal = openTerminal();
const code = await run(process.argv.slice(2), terminal);
// A server that waits for a lock does not see that its client has gone, and keeps the connection open.
if (terminal.signal.aborted) process.exit(code);
process.exitCode = code;
terminal.close();
