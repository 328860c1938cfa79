// Citus, if it is there.
import { CITUS } from "../queries.ts";
import { escape } from "../text.ts";
import { type Check, note, ok, warning } from "./finding.ts";

export const citus: Check = {
  name: "citus",
  async run({ database, distributed }) {
    const [row] = await database.read<{ version: string }>(CITUS);
    if (!row) return [ok("Not installed: all sessions are in one table")];
    const version = `Citus ${escape(row.version)}`;
    if (distributed === null) {
      return [note(`${version}, and the sessions are a table of this node`)];
    }
    if (distributed !== "id") {
      return [
        warning(
          `${version}, and the sessions are distributed by ${
            escape(distributed)
          }: each validation asks all shards. ` +
            "Distribute them by id",
          "select undistribute_table('coatcheck.sessions');",
          "select create_distributed_table('coatcheck.sessions', 'id');",
        ),
      ];
    }
    return [ok(`${version}, and the sessions are distributed by id`)];
  },
};
