import { sessionContext } from "../.server/sessions";
import type { Route } from "./+types/api.session";

export function loader({ context }: Route.LoaderArgs) {
  const { session, reason } = context.get(sessionContext);
  return session ? Response.json(session) : Response.json({ reason }, { status: 401 });
}
