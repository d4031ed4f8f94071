// Builds the page: sources in `src`, result in `../dist`, each file also compressed, since the server only hands out
// what is there. The same sources and the same lock file give the same files.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../dist");

const result = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome123", "firefox125", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
  write: false,
  outdir: out,
});

const files = result.outputFiles.map((file) => [file.path.slice(out.length + 1), Buffer.from(file.contents)]);
for (const name of ["index.html", "icon.svg"]) {
  files.push([name, readFileSync(join(here, "src", name))]);
}
files.push(["LICENSES.txt", licences()]);

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
let total = 0;
for (const [name, content] of files.sort(([a], [b]) => (a < b ? -1 : 1))) {
  writeFileSync(join(out, name), content);
  if (name === "LICENSES.txt") {
    continue;
  }
  const gzip = gzipSync(content, { level: 9 });
  writeFileSync(join(out, `${name}.gz`), gzip);
  total += gzip.length;
  console.log(`${name.padEnd(12)} ${String(content.length).padStart(7)}  gzip ${String(gzip.length).padStart(6)}`);
}
console.log(`gzip altogether ${total} bytes`);

/** The notices of what is in the bundle. */
function licences() {
  const packages = Object.keys(JSON.parse(readFileSync(join(here, "package.json"), "utf8")).dependencies);
  packages.push("@preact/signals-core");
  const texts = packages.sort().map((name) => {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const text = ["LICENSE", "LICENSE.md", "license"].map((file) => read(join(folder, file))).find((text) => text !== undefined);
    return `${name} ${version} (${license})\n\n${(text ?? "").trim()}\n`;
  });
  return Buffer.from(`What app.js contains beside Nightshift's own code:\n\n${texts.join("\n---\n\n")}`);
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
