import adapter from "@sveltejs/adapter-node";
import { sveltekit } from "@sveltejs/kit/vite";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [
    sveltekit({
      adapter: adapter(),
      // Turns off SvelteKit's own cross-origin check: withSession in hooks.server.ts checks every request.
      csrf: { trustedOrigins: ["*"] },
    }),
  ],
});
