import { redirect } from "react-router";
import { revokeSession, sql } from "../.server/sessions";
import type { Route } from "./+types/sign-out";

export async function action({ request }: Route.ActionArgs) {
  const { headers } = await revokeSession(request.headers, sql);
  return redirect("/", { headers });
}
