// A signed token in a cookie, as an app without a session store keeps it: jwtVerify of jose, and the user from its
// claims. No database is asked, so a token that was signed out stays valid until it expires. The key was imported
// before, which is the fastest way of jose: given as bytes it would be imported at each call.
import { generateKeyPair, jwtVerify, SignJWT } from "jose";
import { md5, sample, userOf } from "../sample.mjs";

const ISSUER = "https://app.example";
const NAME = "__Host-session";

export async function open(_url, options) {
  const { algorithm, sessions, seed, distinct } = options;
  const { verify, cookieOf } = await keysOf(algorithm);
  const headersOf = (cookie) => new Headers({ cookie });
  const cookies = await Promise.all(sample(distinct, sessions, seed).map(cookieOf));
  const presented = cookies.map(headersOf);
  const seventh = headersOf(await cookieOf(7));
  const usernameOf = async (headers) => (await verify(headers))?.username ?? null;
  return {
    validate: (index) => usernameOf(presented[index % presented.length]),
    cookies,
    usernameOf,
    check: {
      created: async () => headersOf(await cookieOf(6)),
      seeded: () => seventh,
      wrong: (right) => headersOf(right.get("cookie").replace(/[^.]*$/, "A".repeat(86))),
      validate: usernameOf,
      user: (n) => `user${n}`,
    },
    close: () => {},
  };
}

/** The functions of an app that signs its sessions with this algorithm. */
async function keysOf(algorithm) {
  const { signing, verifying } = await makeKeys(algorithm);
  const options = { algorithms: [algorithm], issuer: ISSUER };

  return {
    cookieOf: async (session) => {
      const user = userOf(session);
      const token = await new SignJWT({ username: `user${user}` })
        .setProtectedHeader({ alg: algorithm })
        .setIssuer(ISSUER)
        .setSubject(String(user))
        .setJti(md5(`session${session}`))
        .setIssuedAt()
        .setExpirationTime("30d")
        .sign(signing);
      return `${NAME}=${token}`;
    },
    verify: async (headers) => {
      const token = readCookie(headers.get("cookie"));
      if (token === undefined) return null;
      try {
        const { payload } = await jwtVerify(token, verifying, options);
        return {
          id: payload.jti,
          userId: payload.sub,
          username: payload.username,
          createdAt: new Date(payload.iat * 1000),
          expiresAt: new Date(payload.exp * 1000),
        };
      } catch {
        return null;
      }
    },
  };
}

async function makeKeys(algorithm) {
  if (algorithm === "EdDSA") {
    const { privateKey, publicKey } = await generateKeyPair("EdDSA");
    return { signing: privateKey, verifying: publicKey };
  }
  const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
  return { signing: key, verifying: key };
}

function readCookie(header) {
  for (const pair of (header ?? "").split(";")) {
    const end = pair.indexOf("=");
    if (pair.slice(0, end).trim() === NAME) return pair.slice(end + 1).trim();
  }
  return undefined;
}
