import type { RequestHeaders } from "./cookie.ts";
import { copyOptions, kindOf, refuse, requireText } from "./input.ts";

/** The origins whose pages may send requests that change something. */
export interface CrossOriginOptions {
  /**
   * The app's own origin, as browsers see it: `https://app.example`. Set it where a proxy does not pass
   * the `Host` on. Unset: the host of `request.url`, by https, or by http where that URL says http.
   */
  readonly origin?: string;
  /** Other origins whose pages may do so, each written like `https://app.example`. @default {[]} */
  readonly trustedOrigins?: readonly string[];
}

/** What the check reads of a request: a `Request` has it, and so has Hono's `c.req.raw`. */
type CheckedRequest = Pick<Request, "method" | "url"> & { readonly headers: RequestHeaders };

/** Options that were checked. */
export interface ResolvedOrigins {
  readonly own: string | undefined;
  readonly trusted: readonly string[];
}

/** The names in {@linkcode CrossOriginOptions}. */
export const CROSS_ORIGIN_OPTIONS = ["origin", "trustedOrigins"] as const;

const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];

/**
 * Tells whether a page of another origin makes a visitor's browser send this request (CSRF).
 *
 * The browser says so itself, in `Sec-Fetch-Site`; where it does not (an old one, or any over plain
 * http), its `Origin` is compared with the app's own. This is the check of `http.CrossOriginProtection`
 * in Go 1.25. It guards a sign-in too, which needs no cookie and so is not guarded by `SameSite`. It
 * exempts no path: a pattern that let more paths through than it said was CVE-2025-47910.
 *
 * GET, HEAD and OPTIONS are never cross-origin, so they must change nothing. A WebSocket begins as a
 * GET, and is checked. A request with neither header comes from no browser, and passes. No forwarded
 * header is read.
 *
 * @example
 * ```ts
 * import { isCrossOrigin } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 *
 * const post = (headers: Record<string, string>) =>
 *   new Request("https://app.example/sign-in", { method: "POST", headers });
 * assert.equal(isCrossOrigin(post({ "sec-fetch-site": "same-origin" })), false);
 * assert.equal(isCrossOrigin(post({ "sec-fetch-site": "cross-site" })), true);
 *
 * const trustedOrigins = ["https://pay.example"];
 * const paid = { "sec-fetch-site": "cross-site", origin: "https://pay.example" };
 * assert.equal(isCrossOrigin(post(paid), { trustedOrigins }), false);
 * ```
 *
 * @param request The request: its `method`, `url` and `headers`.
 * @param options The app's own origin where it cannot be read off the request, and others to trust.
 * @returns Whether to refuse it, with 403. Whatever a client sends, it never throws.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an origin is not written as a browser writes it.
 */
export function isCrossOrigin(
  request: Pick<Request, "method" | "url"> & { readonly headers: RequestHeaders },
  options: CrossOriginOptions = {},
): boolean {
  const caller = "isCrossOrigin";
  const own = copyOptions(`${caller}: options`, options, CROSS_ORIGIN_OPTIONS);
  return crossesOrigin(caller, request, resolveOrigins(caller, own));
}

/** Checks the options of {@linkcode isCrossOrigin}, but for unknown names. */
export function resolveOrigins(
  caller: string,
  { origin, trustedOrigins = [] }: CrossOriginOptions,
): ResolvedOrigins {
  if (origin !== undefined) requireOrigin(`${caller}: origin`, origin);
  if (!Array.isArray(trustedOrigins)) {
    refuse(TypeError, `${caller}: trustedOrigins`, "be an array", kindOf(trustedOrigins));
  }
  const trusted = [...trustedOrigins];
  for (const [index, it] of trusted.entries()) {
    requireOrigin(`${caller}: trustedOrigins[${index}]`, it);
  }
  return { own: origin, trusted };
}

/** {@linkcode isCrossOrigin}, by options that were checked before. */
export function crossesOrigin(
  caller: string,
  request: CheckedRequest,
  { own, trusted }: ResolvedOrigins,
): boolean {
  if (typeof request?.headers?.get !== "function") {
    const desired = "have headers.get(name), as a Request has";
    refuse(TypeError, `${caller}: request`, desired, kindOf(request));
  }
  const { method, url, headers } = request;
  if (SAFE_METHODS.includes(method) && !asksForWebSocket(headers)) return false;
  // Compared as it is: two fields in one, or a value of the future, are no promise of a browser.
  const site = headers.get("sec-fetch-site");
  if (site === "same-origin" || site === "none") return false;
  const origin = headers.get("origin");
  if (!origin) return Boolean(site);
  if (trusted.includes(origin)) return false;
  if (site) return true;
  return own === undefined ? !isOf(url, origin) : origin !== own;
}

/** Taken widely, as no server upgrades what says less. By HTTP/2 it is a CONNECT. */
function asksForWebSocket(headers: RequestHeaders): boolean {
  return /websocket/i.test(headers.get("upgrade") ?? "");
}

/**
 * Whether a page of that origin is a page of the host in this URL.
 *
 * Behind a proxy that ends TLS the URL says http, and the page is https: so such a URL is read by the
 * page's scheme. That lets a page of http://app.example through to https://app.example, in a browser
 * without `Sec-Fetch-Site`; `origin` or HSTS shut it out. Where the URL says https, so must the page.
 */
function isOf(url: string, origin: string): boolean {
  // Whatever a client put into `Host` is in the URL, so that it need not be one.
  if (!isOrigin(origin) || !URL.canParse(url)) return false;
  const here = new URL(url);
  if (here.protocol === "http:") here.protocol = new URL(origin).protocol;
  return here.origin === origin;
}

/** Whether it is an http origin as browsers write one: no path, default port, upper case, Unicode. */
function isOrigin(value: string): boolean {
  return /^https?:/.test(value) && URL.canParse(value) && new URL(value).origin === value;
}

function requireOrigin(subject: string, value: unknown): asserts value is string {
  requireText(subject, value, 1024);
  // A URL may have a `*` in its host; nothing ever matches it. A host with a final dot is another one.
  if (!isOrigin(value) || /\*|\.(:\d+)?$/.test(value)) {
    refuse(RangeError, subject, "be an origin such as https://app.example", "something else");
  }
}
