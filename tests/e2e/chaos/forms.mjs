// Schemas, expressions, grammars and tools that would take forever, or all memory, or mean nothing: each is followed or
// refused, soon.
import { assert, exchange, kMarker, post, slowness } from "./common.mjs";

const nested = (n, make, inner) => Array.from({ length: n }).reduce(make, inner);
const many = (n, make) => Array.from({ length: n }, (_, i) => make(i));
const entries = (n, make) => Object.fromEntries(many(n, (i) => [`p${i}`, make(i)]));
const object = (properties, required = Object.keys(properties)) => ({ type: "object", properties, required, additionalProperties: false });
const text = (pattern) => ({ type: "string", pattern });

const kSchemas = [
  {}, { type: "wrong" }, { type: [] }, { type: 7 }, { enum: [] }, { enum: many(5000, (i) => `word ${i}`) }, { const: "c".repeat(100000) },
  { $ref: "#" }, { $ref: "#/nowhere" }, { $ref: "http://evil.example/schema" }, { $ref: "file:///etc/passwd" }, { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } },
  { allOf: [{ $ref: "#" }] }, { anyOf: [{ $ref: "#" }, { $ref: "#" }] }, { oneOf: [{ $ref: "#" }] }, { not: {} }, { allOf: [false] },
  object({ next: { $ref: "#" } }), { type: "array", items: { $ref: "#" }, minItems: 1 }, { type: "array", items: { $ref: "#" } },
  nested(12, (inner) => object({ a: inner }), { type: "null" }), nested(25, (inner) => ({ anyOf: [inner, { type: "null" }] }), {}), nested(14, (inner) => ({ type: "array", items: inner, minItems: 9, maxItems: 9 }), { type: "null" }),
  object(entries(2000, () => ({ type: "string" }))), object(entries(300, () => ({ type: "number" })), []), object(entries(60, () => ({ anyOf: [{ type: "null" }, { type: "integer" }] })), []),
  { $defs: Object.fromEntries(many(20, (i) => [`d${i}`, object({ a: { $ref: `#/$defs/d${i + 1}` }, b: { $ref: `#/$defs/d${i + 1}` } })]).concat([["d20", { type: "null" }]])), $ref: "#/$defs/d0" },
  { $defs: { b: object(entries(8000, () => false), []) }, type: "array", prefixItems: many(80, (i) => ({ allOf: [{ $ref: "#/$defs/b" }, { title: `${i}` }] })) },
  { allOf: many(200, (i) => ({ minimum: i })) }, { anyOf: many(2000, (i) => ({ const: i })) }, { oneOf: many(300, (i) => object({ a: { const: i } })) }, { allOf: many(16, (i) => ({ anyOf: [object({ [`a${i}`]: {} }), object({ [`b${i}`]: {} })] })) },
  { type: "array", items: {}, minItems: 1e9 }, { type: "array", minItems: 2 ** 53, maxItems: 1 }, { type: "array", maxItems: -1 }, { type: "array", prefixItems: many(3000, () => ({ type: "null" })) },
  { type: "string", minLength: 2 ** 31 }, { type: "string", maxLength: 1e9 }, { type: "string", minLength: 5, maxLength: 4 }, { type: "string", minLength: 100000, maxLength: 100001 },
  { type: "integer", minimum: -(2 ** 63), maximum: 2 ** 63 }, { type: "integer", minimum: 1e300, maximum: 1e301 }, { type: "number", minimum: 0.1, maximum: 0.1000001 }, { type: "number", exclusiveMinimum: 5, maximum: 5 }, { type: "integer", minimum: "x" }, { type: "number", multipleOf: 1e-300 },
  ...["(a*)*b", "(a|a)*$", "^(a+)+$", "a{1000}{1000}{1000}", "(", "[z-a]", "(?=x)", "\\\\1", "\\p{L}", "[^]", ".{0,60000}", `${"(".repeat(2000)}a${")".repeat(2000)}`].map(text),
  object({ "\ud800": {}, "\u0000": {}, "": {} }), { patternProperties: { "^a": {} } }, { propertyNames: text("^(a|b)*$") }, { if: {}, then: {} }, { $dynamicRef: "#x" }, { format: "no such" }, "not a schema", [], 7, null, true, false,
];
const kExpressions = [
  "", "(a{1,1000}){1,1000}", "(x+x+)+y", "(a?){5000}a{5000}", ".{0,100000}", "[a-z]{99999999999999999999}", "a{5,2}", "(".repeat(30000), "|".repeat(30000), "a|".repeat(30000), `${"(a|".repeat(3000)}b${")".repeat(3000)}`,
  "(a|b)*a(a|b){30}", `(${many(500, (i) => `word${i}`).join("|")}){1,50}`, "[\\s\\S]*".repeat(300), "\\p{L}", "(?<=a)", "(?:", "\\", "[", "[^", "a**", "(?i)a", "\\u{110000}", "\\ud800", "\u0000", "[\u{1F300}-\u{1FAFF}]{3,7}", "^^$$", "x".repeat(100000), 7, [], null,
];
const kGrammars = [
  "", "root", "root ::=", 'root ::= root "a"', "root ::= a\na ::= b\nb ::= a", 'root ::= "a"{0,1000000}', 'root ::= "a" root root | ""', 'root ::= ("")*', 'root ::= (("")*)*"a"', "root ::= undefined", 'other ::= "a"', 'root ::= "', "root ::= [", "root ::= [z-a]", 'root ::= "\\xZZ"',
  `root ::= ${"(".repeat(20000)}`, `root ::= ${'"a" | '.repeat(20000)}"b"`, `root ::= r0\n${many(5000, (i) => `r${i} ::= "a" r${i + 1} | r${i + 1}`).join("\n")}\nr5000 ::= "z"`, `root ::= r0\n${many(40, (i) => `r${i} ::= r${i + 1} r${i + 1}`).join("\n")}\nr40 ::= "z"`, `root ::= ${"(".repeat(200)}"a"*${")*".repeat(200)}`,
  `root ::= "a"${"?".repeat(150000)}`, `root ::= "a"${"{1}".repeat(40000)}`,
  `root ::= ${many(1900, (i) => `a${i}`).join(" | ")}\n${many(1900, (i) => `a${i} ::= x "${i}"`).join("\n")}\nx ::= [a-z] [a-z] z\nz ::= ${many(2000, (i) => `y${i}`).join(" | ")}\n${many(2000, (i) => `y${i} ::= [a-z]+`).join("\n")}`,
  `root ::= "7" "${"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".repeat(2)}" ("x"{100000})`,
  'root ::= [^a]*\nroot ::= "b"', "\u0000", "root ::= [\u{10FFFF}-\u0000]", 'root ::= "a"{3,1}', "x ::= ".repeat(20000), `# ${"c".repeat(150000)}`, 7, {}, null,
];
const kChoices = [[], [""], ["", ""], many(20000, (i) => `c${i}`), ["x".repeat(180000)], ["\u0000"], ["\ud800"], [1], [[]], "a", {}, null, many(2000, (i) => "a".repeat(i % 60) + i)];
const tool = (name, parameters) => ({ type: "function", function: { name, parameters } });
const kTools = [
  { tools: many(129, (i) => tool(`f${i}`, {})) }, { tools: many(128, (i) => tool(`f${i}`, object(entries(5, () => ({ type: "string" }))))), tool_choice: "required" }, { tools: [tool("", {})] }, { tools: [tool("a b\n<tool_call>", {})] }, { tools: [tool("f", { $ref: "#" })], tool_choice: "required" },
  { tools: [tool("f", {}), tool("f", {})] }, { tools: [tool("f", {})], tool_choice: { type: "function", function: { name: "g" } } }, { tools: [tool("x".repeat(100000), {})] }, { tools: [{}] }, { tools: {} }, { tools: [tool("f", [])], tool_choice: 7 }, { tool_choice: "required" }, { tools: [tool("f", text("(a*)*b"))], tool_choice: "required" },
];

export async function forms(server, chance, share) {
  const schema = (schema, i) => (i % 2 === 0 ? { response_format: { type: "json_schema", json_schema: { name: "s", schema } } } : { guided_json: schema });
  const all = [
    ...kSchemas.map(schema), ...kSchemas.map((one) => ({ tools: [tool("f", one)], tool_choice: "required" })), ...kExpressions.map((regex) => ({ regex })), ...kGrammars.map((grammar) => ({ grammar })),
    ...kChoices.map((choice) => ({ choice })), ...kTools, { response_format: { type: "json_object" }, grammar: 'root ::= "a"' }, { regex: "a", choice: ["b"] }, { response_format: { type: "json_schema" } }, { response_format: { type: 1 } },
  ].filter(() => chance.is(share));
  const count = {};
  let longest = 0;
  const one = async () => {
    for (let form; (form = all.pop()); ) {
      const body = JSON.stringify({ messages: [{ role: "user", content: kMarker }], max_tokens: 8, ...form });
      const { text, statuses, ms } = await exchange(server.port, post("/v1/chat/completions", Buffer.from(body).toString("latin1"), "Connection: close\r\n"), { ms: 12000 * slowness });
      const shown = `${JSON.stringify(form).slice(0, 200)}, after ${ms.toFixed(0)} ms: ${text.slice(0, 400)}`;
      assert.ok([200, 400, 413, 503].includes(statuses[0]), shown);
      if (statuses[0] === 503) assert.match(text, /grammars of other requests/, shown);
      if (statuses[0] !== 200) assert.ok(text.length < 3000, `a long error: ${shown}`);
      longest = Math.max(longest, ms);
      count[statuses[0]] = (count[statuses[0]] ?? 0) + 1;
    }
  };
  await Promise.all([one(), one(), one()]);
  return { ...count, longest: Math.round(longest) };
}
