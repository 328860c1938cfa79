/** HTML, as opposed to text that is to be shown. */
export interface Html {
  readonly html: string;
}

/** Makes HTML from a template. Every value in it is escaped, unless it is HTML itself. */
export function html(strings: TemplateStringsArray, ...values: (string | Html)[]): Html {
  const escaped = values.map((it) => typeof it === "string" ? Bun.escapeHTML(it) : it.html);
  return { html: String.raw({ raw: strings }, ...escaped) };
}
