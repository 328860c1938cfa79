const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];

/**
 * Whether a request would change something on behalf of a page from elsewhere (CSRF).
 *
 * `SameSite=Lax` keeps the cookie out of such requests, but signing in needs no cookie: without this
 * check, a foreign page can sign somebody in as somebody else. A client that sends neither header is
 * no browser, and has no cookies of an unsuspecting user.
 */
export function isCrossOrigin({ method, url, headers }: Request): boolean {
  if (SAFE_METHODS.includes(method)) return false;
  const site = headers.get("sec-fetch-site");
  if (site) return site !== "same-origin" && site !== "none";
  const origin = headers.get("origin");
  if (!origin) return false;
  return !URL.canParse(origin) || new URL(origin).host !== new URL(url).host;
}
