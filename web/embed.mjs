// node embed.mjs FOLDER FUNCTION OUT.cc: the folder's files, compressed, as what onebit::FUNCTION() returns (web_file.h).
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";

const [folder, name, out] = process.argv.slice(2);
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
const files = fs.readdirSync(folder).sort();
let text = `#include "base/web_file.h"\n\nnamespace onebit {\nnamespace {\n\n`;
const list = [];
for (const [i, file] of files.entries()) {
  const type = types[path.extname(file)];
  if (type === undefined) throw new Error(`${file}: of no known type`);
  const bytes = gzipSync(fs.readFileSync(path.join(folder, file)), { level: 9 });
  const etag = createHash("sha256").update(bytes).digest("hex").slice(0, 20);
  text += `const uint8_t kFile${i}[] = {${[...bytes].join(",")}};\n`;
  list.push(`    {${JSON.stringify(file)}, ${JSON.stringify(type)}, "\\"${etag}\\"", kFile${i}},\n`);
}
text += `const WebFile kFiles[] = {\n${list.join("")}};\n\n}  // namespace\n\nstd::span<const WebFile> ${name}() {\n  return kFiles;\n}\n\n}  // namespace onebit\n`;
fs.writeFileSync(out, text);
