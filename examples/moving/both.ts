// The version before the move: it reads both cookies, and still signs in with the old library.
import { validateSession } from "coatcheck";
import type { Sql } from "postgres";

export async function usernameOf(
  request: Request,
  sql: Sql,
  before: (request: Request) => Promise<string | null>,
): Promise<string | null> {
  const { session } = await validateSession(request.headers, sql);
  return session ? session.username : await before(request);
}
