import { data, Form, redirect } from "react-router";
import { createSession, sql } from "../.server/sessions";
import { checkPassword } from "../.server/users";
import type { Route } from "./+types/sign-in";

export async function action({ request }: Route.ActionArgs) {
  const form = await request.formData();
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    return data("Wrong username or password", 401);
  }
  // `replaces` revokes the session that the browser had, against session fixation.
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return redirect("/", { headers });
}

export default function SignIn({ actionData }: Route.ComponentProps) {
  return <SignInForm message={actionData} />;
}

export function SignInForm({ message = "" }) {
  return (
    <Form method="post" action="/sign-in">
      <p>{message}</p>
      <input name="username" aria-label="Username" autoComplete="username" required />
      <input
        name="password"
        aria-label="Password"
        type="password"
        autoComplete="current-password"
        required
      />
      <button type="submit">Sign in</button>
    </Form>
  );
}
