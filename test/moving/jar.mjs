// The cookies of a browser, as far as these tests need them.

/** Reads a line of `Set-Cookie`. */
export function parse(line) {
  const [pair, ...rest] = line.split(/; */);
  const attributes = new Map(rest.map((it) => {
    const [name, ...value] = it.split("=");
    return [name.toLowerCase(), value.join("=")];
  }));
  const at = pair.indexOf("=");
  const maxAge = attributes.get("max-age");
  const ends = maxAge !== undefined
    ? Date.now() + Number(maxAge) * 1000
    : attributes.has("expires")
    ? Date.parse(attributes.get("expires"))
    : Infinity;
  return {
    name: pair.slice(0, at),
    value: pair.slice(at + 1),
    // What tells two cookies of one name apart.
    key: [pair.slice(0, at), attributes.get("domain") ?? "", attributes.get("path") ?? ""].join(),
    attributes,
    isPersistent: ends !== Infinity,
    isOver: ends <= Date.now(),
  };
}

export class Jar {
  #cookies = new Map();

  constructor(lines = []) {
    this.keep(lines);
  }

  /** Takes lines of `Set-Cookie`, in their order. */
  keep(lines) {
    for (const line of lines) {
      const cookie = parse(line);
      if (cookie.isOver) this.#cookies.delete(cookie.key);
      else this.#cookies.set(cookie.key, cookie);
    }
    return this;
  }

  get names() {
    return [...this.#cookies.values()].map(({ name }) => name);
  }

  valueOf(name) {
    return [...this.#cookies.values()].find((it) => it.name === name)?.value;
  }

  /** The request's `Cookie`. */
  get header() {
    return [...this.#cookies.values()].map(({ name, value }) => `${name}=${value}`).join("; ");
  }

  /** The browser is closed. */
  close() {
    for (const [key, it] of this.#cookies) if (!it.isPersistent) this.#cookies.delete(key);
  }

  copy() {
    const jar = new Jar();
    for (const [key, it] of this.#cookies) jar.#cookies.set(key, it);
    return jar;
  }
}
