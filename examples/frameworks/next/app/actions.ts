"use server";

import { parseSetCookies } from "coatcheck";
import { refresh } from "next/cache";
import { cookies, headers } from "next/headers";
import { redirect } from "next/navigation";
import { createSession, getSession, revokeSession, revokeSessions, sql } from "../lib/sessions";
import { checkPassword } from "../lib/users";

export async function signIn(form: FormData): Promise<void> {
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    redirect("/?wrong");
  }
  // `replaces` revokes the session that the browser had, against session fixation.
  const created = await createSession(username, sql, { replaces: await headers() });
  await setCookies(created.headers);
  redirect("/");
}

export async function signOut(): Promise<void> {
  const revoked = await revokeSession(await headers(), sql);
  await setCookies(revoked.headers);
  redirect("/");
}

export async function revoke(form: FormData): Promise<void> {
  const { session } = await getSession();
  // With the user's own key: nobody revokes the session of another user.
  if (session) await revokeSessions({ userId: session.userId, id: String(form.get("id")) }, sql);
  refresh();
}

async function setCookies(issued: Headers): Promise<void> {
  const jar = await cookies();
  for (const { name, value, attributes } of parseSetCookies(issued)) {
    jar.set(name, value, attributes);
  }
}
