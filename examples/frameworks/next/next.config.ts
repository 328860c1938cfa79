import type { NextConfig } from "next";

// As a new app has it.
export default { cacheComponents: true, partialPrefetching: true } satisfies NextConfig;
