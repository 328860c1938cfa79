// Stands in for Neon's proxy: SQL over HTTP, as its neon() speaks it, to the database at a URL.
import { neonConfig } from "@neondatabase/serverless";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import pg from "pg";

// It can be set for all of a process only, so it goes by the URL of the client.
neonConfig.fetchEndpoint = (host, port) => `http://${host}:${port}/sql`;

/** Starts it. The client's URL is the database's, with the host and the port of this. */
export async function startNeon(
  database: string,
): Promise<{ url: string; close: () => Promise<void> }> {
  const pool = new pg.Pool({ connectionString: database, max: 3 }).on("error", () => {});
  const server = createServer(async (incoming, outgoing) => {
    const { query, params } = await json(incoming) as { query: string; params: unknown[] };
    const answer = (status: number, body: object) =>
      outgoing.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    try {
      const { rows, fields, rowCount, command } = await pool.query({
        text: query,
        values: params,
        rowMode: "array",
        // Neon-Raw-Text-Output: the client reads the text by the types of the fields.
        types: { getTypeParser: () => (text: unknown) => text },
      });
      answer(200, { rows, fields, rowCount, command, rowAsArray: true });
    } catch (error) {
      answer(400, { ...error as object, message: (error as Error).message });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: Object.assign(new URL(database), { hostname: "127.0.0.1", port: String(port) }).href,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await pool.end();
    },
  };
}
