// A Prisma client without models. `prisma generate`, which writes this for a schema, asks for the network.
import { PrismaPg } from "@prisma/adapter-pg";
import { getPrismaClient } from "@prisma/client/runtime/client";
import { Buffer } from "node:buffer";

const PrismaClient = getPrismaClient({
  previewFeatures: [],
  clientVersion: "7",
  engineVersion: "",
  activeProvider: "postgresql",
  inlineSchema: `datasource db { provider = "postgresql" }`,
  runtimeDataModel: { models: {}, enums: {}, types: {} },
  parameterizationSchema: { strings: [], graph: "AAAA" },
  compilerWasm: {
    getRuntime: () => import("@prisma/client/runtime/query_compiler_small_bg.postgresql.mjs"),
    getQueryCompilerWasmModule: async () => {
      const { wasm } = await import(
        "@prisma/client/runtime/query_compiler_small_bg.postgresql.wasm-base64.mjs"
      );
      return new WebAssembly.Module(Buffer.from(wasm, "base64"));
    },
    importName: "./query_compiler_small_bg.js",
  },
});

export const openPrisma = (connectionString) =>
  new PrismaClient({ adapter: new PrismaPg({ connectionString, max: 3 }) });
