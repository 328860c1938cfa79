import { type Cookies, fail, redirect } from "@sveltejs/kit";
import { parseSetCookies } from "coatcheck";
import {
  createSession,
  listSessions,
  revokeSession,
  revokeSessions,
  sql,
} from "#lib/server/sessions.ts";
import { checkPassword } from "#lib/server/users.ts";
import type { Actions, PageServerLoad } from "./$types";

export const load: PageServerLoad = async ({ locals: { session }, setHeaders }) => {
  if (!session) return { username: null, devices: [] };
  // So that the back button shows nothing of the session after a sign-out.
  setHeaders({ "cache-control": "no-store" });
  const sessions = await listSessions(session.userId, sql);
  return {
    username: session.username,
    devices: sessions.map(({ id, lastSeenAt }) => ({
      id,
      lastSeenAt,
      isCurrent: id === session.id,
    })),
  };
};

export const actions: Actions = {
  signIn: async ({ request, cookies }) => {
    const form = await request.formData();
    const username = String(form.get("username"));
    if (!await checkPassword(username, String(form.get("password")), sql)) {
      return fail(401, { message: "Wrong username or password" });
    }
    // `replaces` revokes the session that the browser had, against session fixation.
    const { headers } = await createSession(username, sql, { replaces: request.headers });
    setCookies(cookies, headers);
    redirect(303, "/");
  },

  signOut: async ({ request, cookies }) => {
    const { headers } = await revokeSession(request.headers, sql);
    setCookies(cookies, headers);
    redirect(303, "/");
  },

  revoke: async ({ request, locals: { session } }) => {
    const form = await request.formData();
    // With the user's own key: nobody revokes the session of another user.
    if (session) await revokeSessions({ userId: session.userId, id: String(form.get("id")) }, sql);
    redirect(303, "/");
  },
};

function setCookies(cookies: Cookies, headers: Headers) {
  for (const { name, value, attributes } of parseSetCookies(headers)) {
    cookies.set(name, value, attributes);
  }
}
