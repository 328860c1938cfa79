// iron-session: the session itself is in the cookie, encrypted and signed. No database is asked, so a session that
// was signed out stays valid until it expires.
import { getIronSession, sealData, webCookies } from "iron-session";
import { md5, sample, userOf } from "../sample.mjs";

const OPTIONS = {
  cookieName: "__Host-session",
  password: "a password of the benchmark, and of nothing else",
  ttl: 30 * 86_400,
};

export async function open(_url, { sessions, seed, distinct }) {
  const requestOf = (cookie) => new Request("http://127.0.0.1/me", { headers: { cookie } });
  const cookies = await Promise.all(sample(distinct, sessions, seed).map(cookieOf));
  const presented = cookies.map(requestOf);
  const seventh = requestOf(await cookieOf(7));
  // A read writes nothing to it.
  const headers = new Headers();
  const usernameOf = async (request) =>
    (await getIronSession(webCookies(request, headers), OPTIONS)).username ?? null;
  return {
    validate: (index) => usernameOf(presented[index % presented.length]),
    check: {
      created: async () => requestOf(await cookieOf(6)),
      seeded: () => seventh,
      wrong: (right) =>
        requestOf(right.headers.get("cookie").replace(/[^*]*~/, `${"A".repeat(43)}~`)),
      validate: usernameOf,
      user: (n) => `user${n}`,
    },
    close: () => {},
  };
}

async function cookieOf(session) {
  const user = userOf(session);
  const data = { id: md5(`session${session}`), userId: user, username: `user${user}` };
  return `${OPTIONS.cookieName}=${await sealData(data, OPTIONS)}`;
}
