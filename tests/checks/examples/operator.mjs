// Validates a JSON array of Prometheus Operator resources from standard input. Unknown fields are errors, because an
// API server would silently drop them.
import { readFileSync, readdirSync } from "node:fs";

const folder = new URL("node_modules/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/", import.meta.url);
const definitions = readdirSync(folder).filter((file) => file.endsWith(".d.ts"));
const known = new Set(definitions.flatMap((file) => readFileSync(new URL(file, folder), "utf8").match(/"\w+"(?=\??:)/g) ?? []));
// In these objects, the field names are names of labels or annotations, so any name is valid.
const free = new Set(["labels", "annotations", "matchLabels"]);

function check(value, path) {
  if (Array.isArray(value)) return value.forEach((item, index) => check(item, `${path}/${index}`));
  if (typeof value !== "object" || value === null) return;
  for (const [field, inner] of Object.entries(value)) {
    if (!free.has(field) && !known.has(JSON.stringify(field))) throw new Error(`unknown field ${path}/${field}`);
    if (!free.has(field)) check(inner, `${path}/${field}`);
  }
}

for (const resource of JSON.parse(readFileSync(0, "utf8"))) {
  const module = await import(`@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/${resource.kind}`);
  new module[resource.kind](resource).validate();
  check(resource.spec, `${resource.kind}/spec`);
}
