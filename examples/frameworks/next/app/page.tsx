import { getSession, listSessions, sql } from "../lib/sessions";
import { revoke, signIn, signOut } from "./actions";

// For `cacheComponents`, which a new app has on: this page waits for the session. Without it, remove this line.
export const instant = false;

type Props = { searchParams: Promise<{ wrong?: string }> };

export default async function Page({ searchParams }: Props) {
  const { session } = await getSession();
  if (!session) {
    const isWrong = (await searchParams).wrong !== undefined;
    return (
      <>
        <p>Signed out. {isWrong && "Wrong username or password"}</p>
        <form action={signIn}>
          <input name="username" aria-label="Username" autoComplete="username" required />
          <input
            name="password"
            aria-label="Password"
            type="password"
            autoComplete="current-password"
            required
          />
          <button type="submit">Sign in</button>
        </form>
      </>
    );
  }

  const sessions = await listSessions(session.userId, sql);
  return (
    <>
      <p>Signed in as {session.username}</p>
      <form action={signOut}>
        <button type="submit">Sign out</button>
      </form>
      <ul>
        {sessions.map(({ id, lastSeenAt }) => (
          <li key={id} id={id}>
            Last seen {lastSeenAt.toISOString()}{" "}
            {id === session.id ? "(this device)" : (
              <form action={revoke}>
                <input type="hidden" name="id" value={id} />
                <button type="submit">Revoke</button>
              </form>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
