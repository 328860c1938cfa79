// An older release of the package, out of the tarball that npm would install.
import type { Buffer } from "node:buffer";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

/** Imports the module of a release whose tarball is in test/upgrade. */
export async function importRelease<Module>(version: string): Promise<Module> {
  const url = new URL(`../upgrade/coatcheck-${version}.tgz`, import.meta.url);
  const tar = gunzipSync(await readFile(url));
  const folder = await mkdtemp(join(tmpdir(), "coatcheck-release-"));
  try {
    const file = join(folder, "mod.mjs");
    await writeFile(file, entryOf(tar, "package/dist/mod.js"));
    return await import(pathToFileURL(file).href);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The content of a file in a tar archive: blocks of 512 bytes, the first of each file with its name and size. */
function entryOf(tar: Buffer, name: string): Buffer {
  for (let at = 0; at < tar.length;) {
    const field = (start: number, length: number) =>
      tar.subarray(at + start, at + start + length).toString().replace(/\0[^]*$/, "");
    const size = parseInt(field(124, 12), 8) || 0;
    if (field(0, 100) === name) return tar.subarray(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  throw new Error(`The archive has no ${name}`);
}
