// Random JSON schemas in the shapes that public test suites have, small enough that an answer ends soon.

/** mulberry32: small, and the same numbers on every machine. */
export function makeRandom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const NAMES = ["name", "city", "age", "price", "tags", "id", "kind", "näme", "a b", 'q"uote', "$ref_", "x/y"];
const PATTERNS = ["^[a-z]{2,6}$", "^\\d{3}-\\d{4}$", "^(foo|bar)+$", "^[A-Z][a-z]{1,5}( [A-Z][a-z]{1,5})?$", "^#[0-9a-f]{6}$", "^a.{0,3}b$",
  "^\\w{1,4}@\\w{1,4}$", "^[^\\d\\s]{1,5}$", "^(?:[01]\\d|2[0-3]):[0-5]\\d$"];
const FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email", "duration", "hostname", "ipv6", "uri"];
const VALUES = ["red", "green", 'bl"ue', 7, -1.5, true, null, [1, "x"], { k: "v" }, "日本", ""];

export function makeSchema(random) {
  const pick = (list) => list[random(list.length)];
  const chance = (percent) => random(100) < percent;

  const number = () => {
    const integer = chance(60), low = random(2000) - 1000;
    const schema = { type: integer ? "integer" : "number" };
    if (chance(70)) schema[pick(["minimum", "exclusiveMinimum"])] = integer ? low : low / 8;
    if (chance(70)) schema[pick(["maximum", "exclusiveMaximum"])] = (integer ? low : low / 8) + 5 + random(5000);
    if (integer && chance(20)) schema.multipleOf = 2 + random(9);
    return schema;
  };
  const string = () => {
    if (chance(35)) return { type: "string", pattern: pick(PATTERNS) };
    if (chance(35)) return { type: "string", format: pick(FORMATS.slice(0, 7)) };
    if (chance(10)) return { type: "string", format: pick(FORMATS.slice(7)) };
    const least = random(4);
    return { type: "string", minLength: least, maxLength: least + random(8) };
  };
  const object = (depth) => {
    const schema = { type: "object", properties: {}, required: [], additionalProperties: false };
    for (let n = random(4) + (depth > 1 ? 1 : 0); n > 0; --n) {
      const name = pick(NAMES);
      schema.properties[name] = any(depth - 1);
      if (chance(70) && !schema.required.includes(name)) schema.required.push(name);
    }
    if (chance(10)) schema.minProperties = Math.min(1, Object.keys(schema.properties).length);
    if (chance(10)) {
      schema.patternProperties = { "^x-[a-z]{1,3}$": leaf() };
      schema.maxProperties = Object.keys(schema.properties).length + 1;
    }
    return schema;
  };
  const array = (depth) => {
    if (chance(25)) return { type: "array", prefixItems: [any(depth - 1), leaf()], items: false, minItems: random(3) };
    const least = random(3);
    return { type: "array", items: any(depth - 1), minItems: least, maxItems: least + random(3) };
  };
  const combination = (depth) => {
    switch (random(4)) {
      case 0:
        return { anyOf: [any(depth - 1), any(depth - 1), { type: "null" }] };
      case 1:
        return { oneOf: ["cat", "dog"].map((kind) => ({
          type: "object", properties: { kind: { const: kind }, value: any(depth - 1) }, required: ["kind", "value"], additionalProperties: false })) };
      case 2:
        return { allOf: [{ type: "object", properties: { a: { type: "integer", minimum: 3 } }, required: ["a"] },
          { properties: { a: { maximum: 40 }, b: any(depth - 1) } }] };
      default:
        return { type: ["object", "null"], properties: { left: { $ref: "#/$defs/tree" }, right: { $ref: "#/$defs/tree" } }, additionalProperties: false };
    }
  };
  const leaf = () => {
    switch (random(6)) {
      case 0:
      case 1:
        return number();
      case 2:
      case 3:
        return string();
      case 4:
        return { enum: [pick(VALUES), pick(VALUES), pick(VALUES)].filter((v, i, all) => all.findIndex((o) => JSON.stringify(o) === JSON.stringify(v)) === i) };
      default:
        return pick([{ type: "boolean" }, { type: "null" }, { const: pick(VALUES) }, { type: ["boolean", "string"], maxLength: 3 }, { $ref: "#/$defs/code" }]);
    }
  };
  const any = (depth) => {
    if (depth <= 0) return leaf();
    switch (random(6)) {
      case 0:
      case 1:
        return object(depth);
      case 2:
        return array(depth);
      case 3:
        return combination(depth);
      default:
        return leaf();
    }
  };
  const schema = pick([object, object, array, combination])(3);
  schema.$defs = {
    code: { type: "string", pattern: "^[A-Z]{2}\\d$" },
    // Recursive: a list of at most two branches, each of which may end.
    tree: { anyOf: [{ type: "null" }, { type: "object", properties: { v: { type: "integer", minimum: 0, maximum: 9 }, next: { $ref: "#/$defs/tree" } }, required: ["v"], additionalProperties: false }] },
  };
  return schema;
}
