// Lets Node run the tests as they are: what Bun reads from tsconfig.json, and bun:test itself.
import { registerHooks } from "node:module";

const here = new URL(".", import.meta.url);
const places = {
  "@coatcheck/coatcheck": new URL("../../mod.ts", here).href,
  "coatcheck": new URL("../../mod.ts", here).href,
  "coatcheck/cache": new URL("../../cache.ts", here).href,
  "coatcheck/testing": new URL("../../testing.ts", here).href,
  "bun:test": new URL("bun-test.ts", here).href,
  "@std/http/cookie": new URL("../../node_modules/deno-std/http/cookie.js", here).href,
};

registerHooks({
  resolve: (specifier, context, next) => next(places[specifier] ?? specifier, context),
});
