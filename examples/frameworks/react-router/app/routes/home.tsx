import { Form } from "react-router";
import { listSessions, sessionContext, sql } from "../.server/sessions";
import type { Route } from "./+types/home";
import { SignInForm } from "./sign-in";

export async function loader({ context }: Route.LoaderArgs) {
  const { session } = context.get(sessionContext);
  if (!session) return null;
  const sessions = await listSessions(session.userId, sql);
  // Everything that a loader returns is sent to the browser.
  return {
    id: session.id,
    username: session.username,
    sessions: sessions.map(({ id, lastSeenAt }) => ({ id, lastSeenAt })),
  };
}

export default function Home({ loaderData }: Route.ComponentProps) {
  if (!loaderData) {
    return (
      <>
        <p>Signed out.</p>
        <SignInForm />
      </>
    );
  }
  const { id: current, username, sessions } = loaderData;
  return (
    <>
      <p>Signed in as {username}</p>
      <Form method="post" action="/sign-out">
        <button type="submit">Sign out</button>
      </Form>
      <ul>
        {sessions.map(({ id, lastSeenAt }) => (
          <li key={id} id={id}>
            Last seen {lastSeenAt.toISOString()}
            {id === current ? " (this device)" : (
              <Form method="post" action="/revoke">
                <input type="hidden" name="id" value={id} />
                <button type="submit">Revoke</button>
              </Form>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
