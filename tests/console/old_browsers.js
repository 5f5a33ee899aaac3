// Which features of a script, a style sheet or a template the oldest browsers that we promise do not have. What MDN's
// table of browsers says decides; TypeScript tells of which interface a member is.
//   node old_browsers.js FILE…    prints one line for each feature and file: "file: feature (browser since version)"
const { readFileSync } = require("node:fs");
const { basename, extname } = require("node:path");
const ts = require("typescript");
const table = require("@mdn/browser-compat-data");

const OLDEST = { chrome: 109, chrome_android: 109, safari: 15.4, safari_ios: 15.4, firefox: 115 };
// The standard's mix-ins, and where the table lists their members.
const HOLDERS = {
  Body: ["Request", "Response"], ParentNode: ["Element", "Document", "DocumentFragment"], ChildNode: ["Element", "CharacterData"],
  WindowOrWorkerGlobalScope: ["Window", "WorkerGlobalScope"], HTMLOrSVGElement: ["HTMLElement", "SVGElement"],
  ElementContentEditable: ["HTMLElement"], NonDocumentTypeChildNode: ["Element"], NonElementParentNode: ["Document"],
  DocumentOrShadowRoot: ["Document"], WindowEventHandlers: ["Window"], HTMLHyperlinkElementUtils: ["HTMLAnchorElement"],
  ElementCSSInlineStyle: ["HTMLElement"], InnerHTML: ["Element"], GenericTransformStream: ["DecompressionStream"],
  Window: ["EventTarget"], Worker: ["EventTarget"], NavigatorLanguage: ["Navigator"], NavigatorID: ["Navigator"], CanvasDrawImage: ["CanvasRenderingContext2D"],
  CanvasImageData: ["CanvasRenderingContext2D"], ReadonlyArray: ["Array"], ReadonlySet: ["Set"], ReadonlyMap: ["Map"],
  RelativeIndexable: ["Array"], NodeListOf: ["NodeList"], HTMLCollectionOf: ["HTMLCollection"], PromiseLike: ["Promise"],
  RegExpMatchArray: ["Array"], Uint8Array: ["TypedArray"], Uint8ClampedArray: ["TypedArray"],
};

const found = new Set();

function note(file, feature, compat) {
  const lacking = Object.entries(OLDEST).flatMap(([browser, version]) => {
    const since = sinceOf(compat.support[browser]);
    return since <= version ? [] : [`${browser} ${since === Infinity ? "never" : since}`];
  });
  if (lacking.length) found.add(`${basename(file)}: ${feature} (${lacking.join(", ")})`);
}

/** The first version that has it by default and by this name, if only in part. */
function sinceOf(support) {
  const isOurs = (one) => one && !one.flags && !one.prefix && !one.alternative_name && (!one.version_removed || one.partial_implementation);
  const statements = [support].flat().filter(isOurs);
  const versions = statements.map((one) => Number.parseFloat(String(one.version_added).replace("≤", "")));
  return Math.min(Infinity, ...versions.filter((version) => version >= 0));
}

function unknown(file, feature) {
  found.add(`${basename(file)}: ${feature} (not in the table)`);
}

// Scripts

function checkScripts(files) {
  const program = ts.createProgram(files, {
    allowJs: true, checkJs: true, noEmit: true, strict: true, skipLibCheck: true, types: [],
    target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ["lib.esnext.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  });
  const checker = program.getTypeChecker();
  for (const file of files) {
    const source = program.getSourceFile(file);
    // Of others' scripts, which begin with no comment, the names are theirs to guard.
    const isOurs = source.text.startsWith("//");
    const visit = (node) => {
      checkSyntax(file, node);
      if (isOurs && ts.isIdentifier(node)) checkName(file, node, checker);
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
}

const { classes, operators, regular_expressions: expressions, statements } = table.javascript;

function checkSyntax(file, node) {
  const use = (feature, entry) => note(file, feature, entry.__compat);
  if (ts.isClassStaticBlockDeclaration(node)) use("static { }", classes.static.initialization_blocks);
  if (ts.isPrivateIdentifier(node)) use("#private", classes.private_class_fields);
  if (node.kind === ts.SyntaxKind.QuestionQuestionEqualsToken) use("??=", operators.nullish_coalescing_assignment);
  if (node.kind === ts.SyntaxKind.BarBarEqualsToken) use("||=", operators.logical_or_assignment);
  if (ts.isImportAttributes(node)) use("import … with", statements.import.import_attributes);
  if (ts.isAwaitExpression(node) && isAtTop(node)) use("top-level await", operators.await.top_level);
  if (ts.isVariableDeclarationList(node) && node.flags & ts.NodeFlags.Using) use("using", statements.using);
  if (!ts.isRegularExpressionLiteral(node)) return;
  const [, source, flags] = /^\/(.*)\/(\w*)$/s.exec(node.text);
  if (/\(\?<[=!]/.test(source)) use("(?<=…)", expressions.lookbehind_assertion);
  if (/\(\?[ims-]+:/.test(source)) use("(?i:…)", expressions.modifier);
  if (flags.includes("v")) use("flag v", table.javascript.builtins.RegExp.unicodeSets);
}

function isAtTop(node) {
  for (let above = node.parent; above; above = above.parent) if (ts.isFunctionLike(above)) return false;
  return true;
}

/** A name that the browser or the language gives meaning: a global, or a member of one of their interfaces. */
function checkName(file, node, checker) {
  const symbol = checker.getSymbolAtLocation(node);
  const declared = symbol?.declarations?.find((one) => /\/typescript\/lib\/lib\./.test(one.getSourceFile().fileName));
  if (!declared || ts.isIndexSignatureDeclaration(declared) || ts.isModuleDeclaration(declared)) return;
  const isMember = [ts.isInterfaceDeclaration, ts.isTypeLiteralNode, ts.isModuleBlock].some((is) => is(declared.parent));
  if (!isMember) return checkGlobal(file, node.text);
  const owners = ownersOf(node, declared, checker);
  const entry = owners.map((owner) => entryOf(owner, node.text)).find(Boolean);
  const name = `${owners[0]}.${node.text}`;
  if (entry) note(file, name, entry);
  else if (!isBag(owners)) unknown(file, name);
}

/** Options and events' dictionaries are not in the table by themselves. */
function isBag(owners) {
  return owners.some((owner) => !owner || /(Init|Options|Dict|Map|Parameters|Attributes|Result|Constraints)$/.test(owner));
}

function ownersOf(node, declared, checker) {
  const parent = declared.parent;
  const own = ts.isInterfaceDeclaration(parent) ? parent.name.text : globalOf(parent);
  const typed = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node ? basesOf(checker.getTypeAtLocation(node.parent.expression), checker) : [];
  return [own, ...typed].flatMap((name) => [name, name?.replace(/Constructor$/, ""), ...(HOLDERS[name] ?? [])]);
}

/** `declare var Foo: { … }` and `declare namespace Foo { … }`: statics of Foo. */
function globalOf(literal) {
  return literal.parent.name?.text ?? "";
}

function basesOf(type, checker) {
  if (type.isUnion()) return type.types.flatMap((one) => basesOf(one, checker));
  const apparent = checker.getApparentType(type);
  const bases = apparent.isClassOrInterface() ? checker.getBaseTypes(apparent) : [];
  return [apparent.symbol?.name, ...bases.flatMap((base) => basesOf(base, checker))].filter(Boolean);
}

function entryOf(owner, member) {
  const { api, javascript: { builtins } } = table;
  const names = [member, `${member}_static`, `${member.replace(/^on/, "")}_event`];
  const holders = [api[owner], builtins[owner], builtins.Intl[owner]];
  const entry = holders.flatMap((holder) => names.map((name) => holder?.[name])).find(Boolean);
  return (entry ?? (owner === "Window" || owner === "WorkerGlobalScope" ? api[member] : undefined))?.__compat;
}

function checkGlobal(file, name) {
  const { api, javascript: { builtins } } = table;
  const entry = [api, api.Window, api.EventTarget, builtins, builtins.Intl].map((holder) => holder[name]).find(Boolean);
  if (entry?.__compat) note(file, name, entry.__compat);
  else if (!entry && !["globalThis", "undefined"].includes(name)) unknown(file, name);
}

// Style sheets

function checkStyles(file) {
  const text = readFileSync(file, "utf8").replace(/\/\*.*?\*\/|#[0-9a-f]{3,8}\b(?=[^{}]*})/gs, "").replace(/"[^"]*"/g, '""');
  const open = [];
  for (const [, head, end] of text.matchAll(/([^{};]*)([{};])/g)) {
    const part = head.trim();
    if (end === "{") {
      if (!part.startsWith("@") && open.some((outer) => !outer.startsWith("@"))) note(file, "nesting", table.css.selectors.nesting.__compat);
      if (part.startsWith("@")) checkAtRule(file, part);
      else checkSelectors(file, part);
      open.push(part);
    } else if (part) checkDeclaration(file, part);
    if (end === "}") open.pop();
  }
}

function checkAtRule(file, part) {
  const [, name, prelude] = /^@([\w-]+)\s*(.*)$/s.exec(part);
  const rule = table.css["at-rules"][name];
  if (!rule) return unknown(file, `@${name}`);
  note(file, `@${name}`, rule.__compat);
  if (/[<>]=?/.test(prelude)) note(file, `@${name} (width >= …)`, rule.range_syntax.__compat);
  for (const [, feature] of prelude.matchAll(/\(\s*([a-z-]+)\s*[:)]/g)) {
    const entry = rule[feature.replace(/^(min|max)-/, "")];
    if (entry?.__compat) note(file, `@${name} (${feature})`, entry.__compat);
    else unknown(file, `@${name} (${feature})`);
  }
}

function checkSelectors(file, part) {
  // A name with a prefix is meant for one browser.
  for (const [, name] of part.matchAll(/::?([a-z][a-z-]*)/g)) {
    const entry = table.css.selectors[name];
    if (entry) note(file, `:${name}`, entry.__compat);
    else unknown(file, `:${name}`);
  }
}

function checkDeclaration(file, part) {
  const [, name, value] = /^([\w-]+)\s*:\s*(.*)$/s.exec(part) ?? [];
  if (!name) return unknown(file, part);
  const property = name.startsWith("-") ? {} : table.css.properties[name];
  if (!property) return unknown(file, name);
  if (property.__compat) note(file, name, property.__compat);
  for (const [word, call] of value.matchAll(/-?[a-z][a-z-]*(\(?)/gi)) {
    const entry = call ? functionOf(word.slice(0, -1)) : property[word];
    if (entry?.__compat) note(file, call ? `${word})` : `${name}: ${word}`, entry.__compat);
    else if (call && !entry) unknown(file, `${word})`);
  }
  for (const [, unit] of value.matchAll(/\d([a-z]+)\b/g)) {
    const { length, angle, time, flex } = table.css.types;
    const entry = length[unit] ?? (/^[sdl]v/.test(unit) ? length.viewport_percentage_units_dynamic : undefined);
    if (entry) note(file, `1${unit}`, entry.__compat);
    else if (!["px", "s", "ms", "deg", "fr", "mm", "turn"].includes(unit)) unknown(file, `1${unit}`);
  }
}

function functionOf(name, within = table.css) {
  const types = [table.css.types, ...Object.values(table.css.types), table.css.properties["grid-template-columns"]];
  return types.map((type) => type[name] ?? type[`${name}_function`]).find(Boolean);
}

// Templates

function checkTemplate(file) {
  const text = readFileSync(file, "utf8").replace(/\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}/gs, " ");
  for (const [, element, attributes] of text.matchAll(/<([a-z][a-z0-9]*)\b((?:"[^"]*"|'[^']*'|[^<>"'])*)>/g)) {
    const entry = table.html.elements[element];
    if (!entry) continue; // Of SVG.
    note(file, `<${element}>`, entry.__compat);
    for (const [, name, value] of attributes.matchAll(/([a-z][a-z-]*)(?:=("[^"]*"|'[^']*'))?/g)) checkAttribute(file, element, name, value?.slice(1, -1));
  }
}

function checkAttribute(file, element, name, value) {
  if (/^(data|aria|hx)-|^(role|value)$/.test(name)) return;
  const entry = name === "type" ? {} : table.html.elements[element][name] ?? table.html.global_attributes[name];
  if (!entry) return unknown(file, `<${element} ${name}>`);
  if (entry.__compat) note(file, `<${element} ${name}>`, entry.__compat);
  const typed = name === "type" ? table.html.elements[element][`type_${value}`] : entry[value];
  if (typed?.__compat) note(file, `<${element} ${name}=${value}>`, typed.__compat);
}

const files = process.argv.slice(2);
const of = (kind) => files.filter((file) => extname(file) === kind);
checkScripts(of(".js"));
of(".css").forEach(checkStyles);
of(".html").forEach(checkTemplate);
for (const line of [...found].sort()) console.log(line);
