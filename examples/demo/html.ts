/** HTML, as opposed to plain text. */
export interface Html {
  readonly html: string;
}

/** Renders HTML from a template. Escapes each value that is not {@linkcode Html}. */
export function html(
  strings: TemplateStringsArray,
  ...values: (string | number | Html | readonly Html[])[]
): Html {
  const escaped = values.map((it) =>
    typeof it !== "object" ? Bun.escapeHTML(it) : [it].flat().map(({ html }) => html).join("")
  );
  return { html: String.raw({ raw: strings }, ...escaped) };
}
