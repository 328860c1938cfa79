// The example app on Cloudflare Workers, with the compatibility flag nodejs_compat and the secret DATABASE_URL.
//
// A Worker may use a connection only in the request that opened it. So each request creates a client, and ends
// it after the response. Create the schema from elsewhere (`prepare` in app.ts).
import postgres from "postgres";
import { appWith } from "./app.ts";

interface Environment {
  readonly DATABASE_URL: string;
}

interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

export default {
  async fetch(request: Request, env: Environment, context: Context): Promise<Response> {
    const sql = postgres(env.DATABASE_URL, { max: 1, fetch_types: false });
    try {
      return await appWith(sql)(request);
    } finally {
      context.waitUntil(sql.end({ timeout: 5 }));
    }
  },
};
