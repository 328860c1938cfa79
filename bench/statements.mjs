// Captures the statements of createSession and validateSession for pgbench: the text that a client gets,
// with each value as SQL that pgbench varies from call to call.
import { configure } from "../mod.ts";
import { answer } from "./answer.mjs";
import { USERS } from "./sample.mjs";

const { createSession, validateSession } = configure();
const USERNAME = "username-placeholder";
const HEX = /[0-9a-f]{64}/;
const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

answer({
  statements: async (sessions) => {
    const cookie = `__Host-session=${crypto.randomUUID()}.${"A".repeat(43)}`;
    return {
      create: {
        sets: [
          `\\set u random(1, ${USERS})`,
          "\\set a random(0, 4611686018427387904)",
          "\\set b random(0, 4611686018427387904)",
        ],
        sql: toSql(await sent((sql) => createSession(USERNAME, sql)), {
          user: "'user' || :u::text",
          // pgbench has no random UUID: two random numbers of 62 bits make one.
          id: "md5(:a::text || :b::text)::uuid::text",
          digest: "md5(:a::text) || md5(:b::text)",
        }),
      },
      validate: {
        sets: [`\\set n random(1, ${sessions})`],
        sql: toSql(await sent((sql) => validateSession(new Headers({ cookie }), sql)), {
          user: "''",
          id: "md5('session' || :n::text)::uuid::text",
          digest: "encode(sha256(sha256(('secret' || :n::text)::bytea)), 'hex')",
        }),
      },
    };
  },
});

async function sent(call) {
  let seen;
  // A create without rows fails; only its statement is needed.
  await call((strings, ...values) => {
    seen ??= { strings, values };
    return Promise.resolve([]);
  }).catch(() => {});
  return seen;
}

function toSql({ strings, values }, varied) {
  return strings.reduce((text, part, index) => text + literal(values[index - 1], varied) + part);
}

// A text that contains a varied value becomes a concatenation around it.
function literal(value, { user, id, digest }) {
  if (typeof value !== "string") return String(value);
  const escaped = `'${value.replaceAll("'", "''")}'`;
  const text = escaped
    .replace(USERNAME, `' || ${user} || '`)
    .replace(HEX, `' || ${digest} || '`)
    .replace(UUID, `' || ${id} || '`);
  return text === escaped ? text : `(${text})`;
}
