import type { RequestHeaders } from "./cookie.ts";
import { copyOptions, kindOf, refuse, requireText } from "./input.ts";

/**
 * The origins whose pages may send requests that change state.
 *
 * An origin is written as browsers write it, such as `https://app.example` or `http://localhost:3000`: in
 * lower case, without a path, without a slash at the end, without the default port, IDN as `xn--`; no `*` and
 * no `null`. An app with a scheme of its own has an origin such as `tauri://localhost` or `capacitor://localhost`.
 */
export interface CrossOriginOptions {
  /**
   * The app's own origin, as browsers see it. Set it if a proxy changes `Host`, or if a framework makes
   * `request.url` without it, as Next.js does. Unset: the host and port of `request.url`.
   */
  readonly origin?: string | undefined;
  /** Other origins whose pages may send such requests. @default {[]} */
  readonly trustedOrigins?: readonly string[];
}

/** What the check reads of a request. A `Request` has it, also Hono's `c.req.raw`. */
type CheckedRequest = Pick<Request, "method" | "url"> & { readonly headers: RequestHeaders };

/** Checked options. */
export interface ResolvedOrigins {
  readonly own: string | undefined;
  readonly trusted: readonly string[];
}

/** The names in {@linkcode CrossOriginOptions}. */
export const CROSS_ORIGIN_OPTIONS = ["origin", "trustedOrigins"] as const;

const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];

/**
 * Returns whether a page of another origin sent a request (CSRF protection).
 *
 * It reads what browsers report in `Sec-Fetch-Site` and `Origin`, as `http.CrossOriginProtection` in Go 1.25
 * does. It also protects a sign-in, which needs no cookie, so that `SameSite` does not protect it. The first
 * row that applies decides:
 *
 * | request | cross-origin |
 * | --- | --- |
 * | GET, HEAD or OPTIONS that is no WebSocket | no |
 * | `Sec-Fetch-Site` is `same-origin` or `none` | no |
 * | `Origin` is in `trustedOrigins` | no |
 * | `Sec-Fetch-Site` has any other value | yes |
 * | no `Origin` | no: it comes from no browser |
 * | `Origin` is `origin`; or, if that is unset, has the host and port of `request.url` | no |
 * | any other `Origin`, also `null` | yes |
 *
 * GET, HEAD and OPTIONS must change nothing. No option exempts a path: in Go, a pattern for this exempted
 * more paths than it said (CVE-2025-47910).
 *
 * Behind a proxy that passes `Host` on, leave `origin` unset: if `request.url` is an http URL, pages by http
 * and by https pass. Set `origin` if the proxy changes `Host`. `X-Forwarded-*` is never read, as any client
 * can send it. Browsers send `Sec-Fetch-Site` since 2023, and only to https and localhost.
 *
 * @example
 * ```ts
 * import { isCrossOrigin } from "coatcheck";
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
 * @param options The app's own origin, if a proxy changes `Host`, and the origins to trust.
 * @returns Whether to reject the request, with 403. No `Request` makes it throw.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown. If `request.url` is a path, as
 * in Express, and `origin` is unset.
 * @throws {RangeError} If an origin is not written as browsers write it.
 */
export function isCrossOrigin(
  request: Pick<Request, "method" | "url"> & { readonly headers: RequestHeaders },
  options: CrossOriginOptions = {},
): boolean {
  const caller = "isCrossOrigin";
  const own = copyOptions(`${caller}: options`, options, CROSS_ORIGIN_OPTIONS);
  const origins = resolveOrigins(caller, own);
  const crosses = crossesOrigin(caller, request, origins);
  // A mistake of the app, unless it is the URL of a Request on Bun, whose client sent an invalid Host.
  const isPath = request.url.startsWith("/") && !(request instanceof Request);
  if (isPath && origins.own === undefined) {
    const desired = "be absolute, as that of a Request, unless options.origin is set";
    refuse(TypeError, `${caller}: request.url`, desired, "a path");
  }
  return crosses;
}

/** Checks the options of {@linkcode isCrossOrigin}, but not for unknown names. */
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

/** {@linkcode isCrossOrigin} with checked options. */
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
  // Compared as it is: two joined fields, or a value of a future browser, do not prove the same origin.
  const site = headers.get("sec-fetch-site");
  if (site === "same-origin" || site === "none") return false;
  const origin = headers.get("origin");
  if (!origin) return Boolean(site);
  if (trusted.includes(origin)) return false;
  if (site) return true;
  return own === undefined ? !isOf(url, origin) : origin !== own;
}

/**
 * Whether a request asks for a WebSocket: any `Upgrade` that names one, as no server upgrades a request
 * without. By HTTP/2 it is a CONNECT, which is never safe.
 */
function asksForWebSocket(headers: RequestHeaders): boolean {
  return /websocket/i.test(headers.get("upgrade") ?? "");
}

/**
 * Whether an origin is the origin of a URL of this app.
 *
 * Behind a proxy that terminates TLS, the URL is http, and the page is https: so the scheme of an http URL is
 * not compared. In a browser without `Sec-Fetch-Site`, this lets a page of http://app.example pass for
 * https://app.example; `origin` or HSTS prevents it. If the URL is https, the page must be https.
 */
function isOf(url: string, origin: string): boolean {
  // The URL contains the `Host` that the client sent, so it may be invalid.
  if (!isOrigin(origin) || !URL.canParse(url)) return false;
  const here = new URL(url);
  if (here.protocol === "http:") here.protocol = new URL(origin).protocol;
  return here.origin === origin;
}

/** Whether a value is an http or https origin as browsers write one. */
function isOrigin(value: string): boolean {
  return /^https?:/.test(value) && URL.canParse(value) && new URL(value).origin === value;
}

/** Whether a value is the origin of an app's own scheme, as browsers write one: `tauri://localhost`, `app://-`. */
function isCustomOrigin(value: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\]+$/.test(value) || !URL.canParse(value)) return false;
  // The schemes of the URL standard have an origin of another form, or none.
  const { origin, href } = new URL(value);
  return origin === "null" && href === value;
}

function requireOrigin(subject: string, value: unknown): asserts value is string {
  requireText(subject, value, 1024);
  // A URL may have a `*` in its host, but matches no page. A host with a final dot is another host.
  if (!isOrigin(value) && !isCustomOrigin(value) || /\*|\.(:\d+)?$/.test(value)) {
    refuse(RangeError, subject, "be an origin such as https://app.example", "something else");
  }
}
