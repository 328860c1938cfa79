/** HTML, as opposed to text that is to be shown. */
export interface Html {
  readonly html: string;
}

/** Makes HTML from a template. Every value in it is escaped, unless it is HTML itself. */
export function html(
  strings: TemplateStringsArray,
  ...values: (string | number | Html | readonly Html[])[]
): Html {
  const escaped = values.map((it) =>
    typeof it !== "object" ? Bun.escapeHTML(it) : [it].flat().map(({ html }) => html).join("")
  );
  return { html: String.raw({ raw: strings }, ...escaped) };
}
