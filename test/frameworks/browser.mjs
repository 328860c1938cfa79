// A browser without scripts: it keeps cookies, reads forms out of pages, and sends them.
import { once } from "node:events";
import { request } from "node:http";
import { buffer } from "node:stream/consumers";

/**
 * Opens a browser on an app.
 *
 * @param {string} base The app's origin.
 * @param {Record<string, string>} [routes] Where the buttons of an app without forms would send them.
 */
export function openBrowser(base, routes, cookies = new Map()) {
  async function ask(path, { method = "GET", headers = {}, body } = {}) {
    const url = new URL(path, base);
    const cookie = Array.from(cookies, ([name, value]) => `${name}=${value}`).join("; ");
    const own = { accept: "text/html,*/*;q=0.8", ...(cookie && { cookie }) };
    const response = await send(url, method, { ...own, ...headers }, body);
    const lines = response.headers.getSetCookie();
    for (const line of lines) keep(cookies, line);
    return {
      status: response.status,
      headers: response.headers,
      lines,
      text: response.text,
    };
  }

  /** Sends the form that has a button with this text, and follows the redirect. */
  async function submit(page, button, values = {}, headers = sameOrigin(base)) {
    const form = routes ? { action: routes[button] } : formOf(page.text, button);
    const fields = { ...form.fields, ...values };
    const body = form.isMultipart ? new FormData() : new URLSearchParams();
    for (const [name, value] of Object.entries(fields)) body.append(name, value);
    const path = new URL(form.action, new URL("/", base));
    const sent = await ask(path, { method: "POST", headers, body });
    if (sent.status < 300 || sent.status > 399) return { sent, page: sent };
    return { sent, page: await ask(new URL(sent.headers.get("location"), path)) };
  }

  return {
    base,
    cookies,
    ask,
    submit,
    copy: () => openBrowser(base, routes, new Map(cookies)),
    another: () => openBrowser(base, routes),
  };
}

/** Sends a request. By node:http, as fetch ignores a `host`. */
async function send(url, method, headers, body) {
  const outgoing = request(url, {
    method,
    headers,
    agent: false,
    signal: AbortSignal.timeout(20_000),
  });
  if (body) {
    const whole = new Response(body);
    outgoing.setHeader("content-type", whole.headers.get("content-type"));
    outgoing.end(Buffer.from(await whole.arrayBuffer()));
  } else outgoing.end();
  const [incoming] = await once(outgoing, "response");
  const received = new Headers();
  for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
    received.append(incoming.rawHeaders[at], incoming.rawHeaders[at + 1]);
  }
  return { status: incoming.statusCode, headers: received, text: String(await buffer(incoming)) };
}

/** What a browser says of a form on a page of the app itself. */
export function sameOrigin(base) {
  return {
    origin: new URL(base).origin,
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "navigate",
  };
}

function keep(cookies, line) {
  const [pair, ...attributes] = line.split(/; */);
  const [name] = pair.split("=", 1);
  const ends = attributes.map((it) => it.split("=")).map(([key, value]) =>
    /^max-age$/i.test(key)
      ? Number(value)
      : /^expires$/i.test(key)
      ? Date.parse(value) - Date.now()
      : 1
  );
  if (ends.some((it) => it <= 0)) cookies.delete(name);
  else cookies.set(name, pair.slice(name.length + 1));
}

function formOf(html, button) {
  for (const [form] of html.matchAll(/<form\b[\s\S]*?<\/form>/gi)) {
    const buttons = Array.from(
      form.matchAll(/<button\b[^>]*>([\s\S]*?)<\/button>/gi),
      ([, it]) => it,
    );
    if (!buttons.some((it) => textOf(it) === button)) continue;
    const [tag] = form.match(/^<form\b[^>]*>/i);
    const fields = {};
    for (const [input] of form.matchAll(/<input\b[^>]*>/gi)) {
      const name = attribute(input, "name");
      if (name) fields[name] = attribute(input, "value") ?? "";
    }
    return {
      action: attribute(tag, "action") ?? "",
      isMultipart: /multipart/i.test(attribute(tag, "enctype") ?? ""),
      fields,
    };
  }
  throw new Error(`The page has no form with the button "${button}":\n${html.slice(0, 2000)}`);
}

/** The text of HTML, as a reader sees it. */
export function textOf(html) {
  return decode(
    html.replaceAll(
      /<!--[\s\S]*?-->|<(?:script|style)\b[\s\S]*?<\/(?:script|style)>|<[^>]*>/gi,
      "",
    ),
  )
    .replaceAll(/\s+/g, " ").trim();
}

function attribute(tag, name) {
  const [, double, single, bare] = tag.match(
    new RegExp(`\\s${name}=(?:"([^"]*)"|'([^']*)'|([^\\s>]+))`, "i"),
  ) ?? [];
  const value = double ?? single ?? bare;
  return value === undefined ? undefined : decode(value);
}

function decode(text) {
  const named = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
  return text.replaceAll(
    /&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi,
    (all, hex, decimal, name) =>
      hex
        ? String.fromCodePoint(parseInt(hex, 16))
        : decimal
        ? String.fromCodePoint(Number(decimal))
        : named[name] ?? all,
  );
}
