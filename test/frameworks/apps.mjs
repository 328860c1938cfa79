// What is different between the apps of examples/frameworks/.

/** They have text on `/` in place of forms, and no list of devices. */
export const WITHOUT_FORMS = ["astro", "elysia", "fastify", "h3"];

/** They need ORIGIN, also if a proxy passes `Host` on. docs/frameworks.md says so. */
export const NEEDS_ORIGIN = ["express", "fastify", "next", "sveltekit"];

/** Chromium drives their pages. */
export const DRIVEN = ["next", "sveltekit"];
