import { defineConfig } from "@playwright/test";
import process from "node:process";

const port = process.env.PORT ?? "3000";

export default defineConfig({
  fullyParallel: true,
  // As many as fixtures.ts has users.
  workers: 2,
  use: {
    baseURL: `http://localhost:${port}`,
    // Unset: the one that Playwright has installed.
    launchOptions: { executablePath: process.env.CHROMIUM },
  },
  webServer: { command: "npm start", port: Number(port), env: { PORT: port } },
});
