import { isCrossOrigin } from "coatcheck";
import { type NextRequest, NextResponse } from "next/server";
import { sql, validateSession } from "./lib/sessions";

export async function proxy(request: NextRequest): Promise<Response> {
  if (isCrossOrigin(request, { origin: process.env.ORIGIN })) {
    return new Response("Cross-origin request refused\n", { status: 403 });
  }
  // Rotation happens here, as a page cannot set a cookie. The page behind it validates the same old cookie.
  const { headers } = await validateSession(request.headers, sql);
  return NextResponse.next({ headers });
}

// Exempts only paths that run no action. A POST to /favicon.ico reaches the action handler, so it is not exempt.
export const config = { matcher: "/((?!_next/static/|_next/image$).*)" };
