// Writes docs/reference.md from the doc comments of what mod.ts, conformance.ts and testing.ts export. With --check,
// compares the file with the code: a change of the public API is a change of that file, which a reviewer sees.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import ts from "typescript";
import { root } from "./run.mjs";

/** The chapters, and the modules of src/ whose exports they hold. Exports of other modules are in Types. */
const chapters = {
  "Create": ["create", "guest", "user", "token"],
  "Validate": ["validate"],
  "Rotate and reauthenticate": ["rotate", "reauthenticate"],
  "Update": ["update"],
  "List": ["list"],
  "Revoke": ["revoke"],
  "Sweep": ["sweep"],
  "Set up": ["migrate", "migrations", "configure", "batch"],
  "Settings": ["policy"],
  "CSRF protection and handlers": ["handler", "origin", "response"],
  "Errors and events": ["errors", "events"],
  "Types": [],
  "Cache": ["cache", "cached", "notifications"],
  "Helpers for tests": ["testing"],
  "Conformance suite": ["conformance"],
};

/** The chapters that have an entry point of their own. */
const ownEntries = {
  "Cache": "cache.ts",
  "Helpers for tests": "testing.ts",
  "Conformance suite": "conformance.ts",
};

const INTRODUCTION = `\
Most functions take a subject, the SQL client and options, in this order, and return a promise. A wrong argument is a
\`TypeError\` or a \`RangeError\`, thrown before any SQL is sent. An unknown user and a failing database are a
{@linkcode SessionError}. A token that opens nothing is not an error: {@linkcode validateSession} returns the reason.

Durations are whole seconds, and instants are \`Date\`s by the database's clock. [clients.md](clients.md) says which SQL
clients work, [operations.md](operations.md) how to run the database, and [guide.md](guide.md) how to build an app.`;

const entries = ["mod.ts", ...Object.values(ownEntries)].map((name) => join(root, name));
const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
const program = ts.createProgram(entries, options);
const checker = program.getTypeChecker();
const modules = entries.map((entry) => program.getSourceFile(entry));

/** Every exported declaration by its name. */
const exported = new Map(
  modules.flatMap((module) => checker.getExportsOfModule(checker.getSymbolAtLocation(module)))
    .map((symbol) => [symbol.name, declarationOf(symbol)]),
);

const contents = Object.keys(chapters).map((title) => [title, declarationsIn(title)])
  .filter(([, declarations]) => declarations.length > 0);
const anchors = anchorsOf(contents);
const text = [
  "# Reference",
  "<!-- Written by scripts/reference.mjs from the doc comments of the code. Change those, not this file. -->",
  ...paragraphsOf(docOfModule(modules[0])),
  linked(INTRODUCTION),
  ...tagsOf(docOfModule(modules[0])),
  contents.map(tocLine).join("\n"),
  ...contents.flatMap(([title, declarations]) => [
    `## ${title}`,
    ...introductionOf(title),
    ...declarations.flatMap(entryOf),
  ]),
].join("\n\n").replaceAll("@coatcheck/coatcheck", "coatcheck") + "\n";

const file = join(root, "docs", "reference.md");
if (process.argv[2] !== "--check") {
  writeFileSync(file, text);
} else if (readFileSync(file, "utf8") !== text) {
  console.error(
    "docs/reference.md differs from the doc comments. Run node scripts/reference.mjs, read its diff, " +
      "and note a change of the API in CHANGELOG.md",
  );
  process.exitCode = 1;
}

// ── What there is ────────────────────────────────────────────────────────────────────────────────

function declarationOf(symbol) {
  const { flags } = symbol;
  const [declaration] =
    (flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol).declarations;
  return declaration;
}

/** A chapter's declarations: functions and classes, then types, then constants; each as in the code. */
function declarationsIn(title) {
  const named = Object.values(chapters).flat();
  const rank = (it) => isType(it) ? 1 : ts.isVariableDeclaration(it) ? 2 : 0;
  const found = [...exported.values()].filter((it) => {
    const module = moduleOf(it);
    return title === "Types" ? !named.includes(module) : chapters[title].includes(module);
  });
  if (title === "Types" && !found.every(isType)) {
    const [{ name }] = found.filter((it) => !isType(it));
    throw new Error(`${name.text} has no chapter: name its module in scripts/reference.mjs`);
  }
  const place = (it) => chapters[title].indexOf(moduleOf(it));
  return found.sort((a, b) =>
    rank(a) - rank(b) || place(a) - place(b) ||
    (moduleOf(a) < moduleOf(b) ? -1 : moduleOf(a) > moduleOf(b) ? 1 : a.pos - b.pos)
  );
}

function moduleOf(declaration) {
  return basename(declaration.getSourceFile().fileName, ".ts");
}

function isType(it) {
  return ts.isInterfaceDeclaration(it) || ts.isTypeAliasDeclaration(it);
}

/** The anchors of the headings on GitHub, which numbers the second of a name. Chapters are `## …` here. */
function anchorsOf(contents) {
  const counts = new Map();
  const headings = contents.flatMap(([title, declarations]) => [
    `## ${title}`,
    ...declarations.map((it) => it.name.text),
  ]);
  return new Map(headings.map((heading) => {
    const slug = heading.replace("## ", "").toLowerCase().replaceAll(" ", "-");
    const count = counts.get(slug) ?? 0;
    counts.set(slug, count + 1);
    return [heading, count ? `${slug}-${count}` : slug];
  }));
}

// ── How it is written ────────────────────────────────────────────────────────────────────────────

function tocLine([title, declarations]) {
  const names = declarations.map(({ name: { text } }) => `[${text}](#${anchors.get(text)})`);
  return `- [${title}](#${anchors.get(`## ${title}`)}): ${names.join(", ")}`;
}

/** What the comment of a chapter's own entry point says. */
function introductionOf(title) {
  if (!(title in ownEntries)) return [];
  const doc = docOfModule(program.getSourceFile(join(root, ownEntries[title])));
  return [...paragraphsOf(doc), ...tagsOf(doc)];
}

/** The comment of a module, which TypeScript gives to the module's first statement. */
function docOfModule({ statements: [first] }) {
  return first.jsDoc[0];
}

function entryOf(declaration) {
  const { text: name } = declaration.name;
  const doc = docOf(declaration);
  if (!doc) throw new Error(`${name} has no doc comment`);
  const [summary, ...paragraphs] = paragraphsOf(doc);
  const code = `\`\`\`ts ignore\n${signatureOf(declaration)}\n\`\`\``;
  const table = tableOf(propertiesOf(declaration));
  return [`### ${name}`, summary, code, ...paragraphs, ...table, ...tagsOf(doc, declaration)];
}

/** The doc comment that stands directly before a declaration. */
function docOf(declaration) {
  const node = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration;
  return node.jsDoc?.at(-1);
}

/** The declaration as it stands in the code, without its comments, its body and its value. */
function signatureOf(it) {
  const bare = (node, end = node.end) =>
    node.getSourceFile().text.slice(node.getStart(), end)
      .replace(/^ *\/\*\*.*?\*\/\n/gms, "")
      .replace(/^ *\/\/.*\n/gm, "")
      .trim();
  const plain = (code) => code.replace(/^(export |async |declare )+/, "").replace(/;$/, "");
  if (ts.isVariableDeclaration(it)) return `const ${it.name.text}: ${bare(it.type)}`;
  if (ts.isFunctionDeclaration(it)) return plain(bare(it, it.body.getStart()));
  if (!ts.isClassDeclaration(it)) return plain(bare(it));
  const head = bare(it, it.members.pos - 1);
  const members = it.members.filter((member) => docOf(member))
    .map((member) => `  ${bare(member, member.body?.getStart()).replace(/;$/, "")};`);
  return [`${plain(head)} {`, ...members, "}"].join("\n");
}

/** The properties that a type or a class documents, also those of the forms of a union. */
function propertiesOf(declaration) {
  const found = [];
  const visit = (node) => {
    const isProperty = ts.isPropertySignature(node) || ts.isPropertyDeclaration(node);
    if (isProperty && docOf(node)) found.push(node);
    ts.forEachChild(node, visit);
  };
  if (isType(declaration) || ts.isClassDeclaration(declaration)) visit(declaration);
  return found;
}

/** A table of properties; those of two forms that say the same are one row. */
function tableOf(properties) {
  if (properties.length === 0) return [];
  const rows = properties.map((property) => {
    const { text, tags, examples } = partsOf(docOf(property));
    if (tags.length || examples.length) throw new Error(`${property.name.text} has unknown tags`);
    // TypeScript reads a tag only at the start of a line; elsewhere it is text.
    const [, said, value, more = ""] = /^(.*?)(?:@default \{(\{.*?\}|[^}]*)\}(.*))?$/s.exec(text);
    const initial = value === undefined ? "" : `\`${value}\`${more.replace(/[\s.]+$/, "")}`;
    return [`\`${property.name.text}\``, said, initial].map(cell);
  });
  const hasDefaults = rows.some(([, , initial]) => initial !== "");
  const lines = [["property", "meaning", "default"], ["---", "---", "---"], ...rows]
    .map((row) => `| ${row.slice(0, hasDefaults ? 3 : 2).join(" | ")} |`.replace("|  |", "| |"));
  return [[...new Set(lines)].join("\n")];
}

function line(text) {
  return text.trim().replace(/\s+/g, " ");
}

function cell(text) {
  return linked(line(text)).replaceAll("|", "\\|");
}

/** The text of a doc comment; its first paragraph is its summary. */
function paragraphsOf(doc) {
  return partsOf(doc).text.split("\n\n").map(linked);
}

/** The parameters, the result, the errors and the examples of a doc comment, as Markdown. */
function tagsOf(doc, declaration) {
  const { tags, examples } = partsOf(doc);
  const named = (...names) => tags.filter(({ name }) => names.includes(name));
  const list = (title, items) => items.length ? [`**${title}**`, items.join("\n")] : [];
  const types = new Map(
    declaration?.parameters?.map((it, i) => [named("param")[i]?.subject, typesIn(it.type)]),
  );
  const returned = named("returns", "return").map(({ text }) => line(text));
  const result = typesIn(declaration?.type);
  return [
    ...list(
      "Parameters",
      named("template", "typeParam", "param").map(({ subject, text }) =>
        `- \`${subject}\`${inBrackets(types.get(subject))}: ${linked(line(text))}`
      ),
    ),
    ...returned.map((it) => `**Returns**${inBrackets(result)} ${linked(it)}`),
    ...list(
      "Throws",
      named("throws").map(({ subject, text }) =>
        `- ${subject ? `${link(subject)}: ` : ""}${linked(line(text))}`
      ),
    ),
    ...examples.map((it) =>
      it.replace(
        /^(.*?)\n*```ts.*?\n/s,
        (_, title) => `**Example**${title && `: ${title}`}\n\n\`\`\`ts ignore\n`,
      )
    ),
  ];
}

/** A doc comment's text, its tags and its examples. */
function partsOf(doc) {
  const textOf = ({ comment }) => (ts.getTextOfJSDocComment(comment) ?? "").trim();
  const tags = [];
  const examples = [];
  let text = textOf(doc);
  for (const tag of doc.tags ?? []) {
    const name = tag.tagName.text;
    const said = textOf(tag);
    if (name === "example") examples.push(exampleOf(tag));
    else if (name === "default") text += ` @default ${said}`;
    else if (name === "throws") {
      tags.push({ name, subject: tag.typeExpression?.type.getText(), text: said });
    } else if (name === "param") tags.push({ name, subject: tag.name.text, text: said });
    else if (name === "returns" || name === "return") tags.push({ name, text: said });
    else if (name === "template" || name === "typeParam") {
      const [, subject, rest] = /^(\w+)\s+(.*)$/s.exec(said);
      tags.push({ name, subject, text: rest });
    } else if (name !== "module") throw new Error(`@${name} is unknown to scripts/reference.mjs`);
  }
  return { text, tags, examples };
}

/** An example as it stands in the code: TypeScript takes the indentation away from one that has a title. */
function exampleOf(tag) {
  return tag.getSourceFile().text.slice(tag.tagName.end, tag.end)
    .replace(/^ *\*(?: |$)/gm, "")
    .trim();
}

/** The names of our own types in a type. */
function typesIn(type) {
  const found = new Set();
  const visit = (node) => {
    if (ts.isTypeReferenceNode(node) && anchors.has(node.typeName.getText())) {
      found.add(node.typeName.getText());
    }
    ts.forEachChild(node, visit);
  };
  if (type) visit(type);
  return [...found];
}

function inBrackets(names = []) {
  return names.length ? ` (${names.map(link).join(", ")})` : "";
}

/** A name in code, which leads to its heading if it is ours. */
function link(name) {
  const anchor = anchors.get(name.split(".")[0]);
  return anchor ? `[\`${name}\`](#${anchor})` : `\`${name}\``;
}

/** Makes a link of each `{@linkcode}`, all of which must lead to something exported. */
function linked(text) {
  return text.replace(/\{@link(?:code)? ([\w.]+)\}/g, (whole, name) => {
    if (!anchors.has(name.split(".")[0])) throw new Error(`${whole} leads to nothing exported`);
    return link(name);
  });
}
