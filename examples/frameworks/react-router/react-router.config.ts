import type { Config } from "@react-router/dev/config";

export default {
  // Your host. Without it, React Router answers 400 to forms of a page behind a proxy for TLS.
  allowedActionOrigins: ["app.example"],
} satisfies Config;
