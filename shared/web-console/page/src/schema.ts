// Forms from JSON schemas, as far as they are simple: an object whose members are text, numbers, choices or yes and no.
// For everything else there is a field for JSON. Pure.

export interface Field {
  name: string;
  label: string;
  help?: string;
  required: boolean;
  kind: "text" | "long" | "number" | "integer" | "boolean" | "choice";
  choices?: string[];
  start: string | boolean;
  min?: number;
  max?: number;
}

type Schema = Record<string, unknown>;

/** The fields of a simple schema, with what is there already; `undefined` when it is not simple. */
export function fields(schema: unknown, given?: unknown): Field[] | undefined {
  const { type, properties, required } = (schema ?? {}) as Schema;
  if ((type !== undefined && type !== "object") || typeof properties !== "object" || properties === null) {
    return undefined;
  }
  const needed = Array.isArray(required) ? (required as unknown[]) : [];
  const values = typeof given === "object" && given !== null ? (given as Schema) : {};
  const found: Field[] = [];
  for (const [name, property] of Object.entries(properties as Record<string, Schema>)) {
    const field = one(name, property, needed.includes(name), values[name] ?? property.default);
    if (field === undefined) {
      return undefined;
    }
    found.push(field);
  }
  return found.length > 0 ? found : undefined;
}

function one(name: string, property: Schema, required: boolean, value: unknown): Field | undefined {
  const label = typeof property.title === "string" ? property.title : words(name);
  const help = typeof property.description === "string" ? property.description : undefined;
  const choices = Array.isArray(property.enum) && property.enum.every((one) => typeof one === "string");
  const text = value === undefined || value === null ? "" : String(value);
  const base = { name, label, help, required, start: text };
  if (choices) {
    return { ...base, kind: "choice", choices: property.enum as string[] };
  }
  switch (property.type) {
    case "string": {
      const long = Number(property.maxLength ?? 0) > 200 || property.format === "textarea" || text.length > 80;
      return { ...base, kind: long ? "long" : "text" };
    }
    case "number":
    case "integer":
      return { ...base, kind: property.type, min: limit(property.minimum), max: limit(property.maximum) };
    case "boolean":
      return { ...base, kind: "boolean", start: value === true };
    default:
      return undefined;
  }
}

function limit(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** `maxTokens`, `max_tokens` -> `Max tokens`. */
function words(name: string): string {
  const spaced = name.replace(/[_-]+/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

/** The data of a filled form. Optional fields that were left empty are left out. */
export function data(fields: Field[], values: Record<string, string | boolean>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const { name, kind, required, start } of fields) {
    const value = values[name] ?? start;
    if (kind === "boolean") {
      result[name] = value === true;
    } else if (value !== "" || (required && (kind === "text" || kind === "long"))) {
      result[name] = kind === "number" || kind === "integer" ? Number(value) : value;
    }
  }
  return result;
}
