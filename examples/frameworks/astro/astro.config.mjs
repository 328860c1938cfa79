import node from "@astrojs/node";
import { defineConfig } from "astro/config";

export default defineConfig({
  output: "server",
  adapter: node({ mode: "standalone" }),
  // `withSession` checks it. Astro's own check would refuse every form behind a proxy for TLS.
  security: { checkOrigin: false },
});
