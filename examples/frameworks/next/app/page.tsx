import { getSession, listSessions, sql } from "../lib/sessions";
import { revoke, signOut } from "./actions";
import { SignInForm } from "./sign-in-form";

export default async function Page() {
  const { session } = await getSession();
  if (!session) return <SignInForm />;

  const sessions = await listSessions(session.userId, sql);
  return (
    <>
      <p>Signed in as {session.username}</p>
      <form action={signOut}><button>Sign out</button></form>
      <ul>
        {sessions.map(({ id, lastSeenAt }) => (
          <li key={id} id={id}>
            Last seen {lastSeenAt.toISOString()}{" "}
            {id === session.id ? "(this device)" : (
              <form action={revoke}>
                <input type="hidden" name="id" value={id} />
                <button>Revoke</button>
              </form>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
