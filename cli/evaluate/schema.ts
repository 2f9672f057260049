/** A checker for the part of JSON Schema that the shipped schema uses, whose messages name the place in the file. */

/** JSON Schema 2020-12, cut down to what is used. */
export interface Schema {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean";
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly pattern?: string;
  readonly $ref?: string;
  readonly $schema?: string;
  readonly title?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly description?: string;
  readonly default?: unknown;
}

/** What is wrong with a JSON value, each problem with its place such as `checkpoints[0].unet`; empty if nothing is. */
export function schemaProblems(value: unknown, schema: Schema, root = schema, place = ""): string[] {
  if (schema.$ref !== undefined) {
    const named = root.$defs?.[schema.$ref.replace("#/$defs/", "")];
    if (!named) throw new Error(`the schema has no ${schema.$ref}`);
    return schemaProblems(value, named, root, place);
  }
  const at = place === "" ? "the file" : place;
  if (schema.enum) {
    return typeof value === "string" && schema.enum.includes(value)
      ? []
      : [`${at} must be one of ${schema.enum.join(", ")}, got ${brief(value)}`];
  }
  if (schema.type && !hasType(value, schema.type)) return [`${at} must be ${ARTICLES[schema.type]}, got ${brief(value)}`];
  if (typeof value === "number") return numberProblems(value, schema, at);
  if (typeof value === "string") return stringProblems(value, schema, at);
  if (Array.isArray(value)) {
    if (value.length < (schema.minItems ?? 0)) {
      return [`${at} must have at least ${schema.minItems} ${schema.minItems === 1 ? "entry" : "entries"}`];
    }
    return value.flatMap((item, i) => (schema.items ? schemaProblems(item, schema.items, root, `${place}[${i}]`) : []));
  }
  return typeof value === "object" && value !== null ? objectProblems(value as Record<string, unknown>, schema, root, place) : [];
}

function objectProblems(value: Readonly<Record<string, unknown>>, schema: Schema, root: Schema, place: string): string[] {
  const { properties = {}, required = [] } = schema;
  const below = (key: string): string => (place === "" ? key : `${place}.${key}`);
  const missing = required.filter((key) => !Object.hasOwn(value, key)).map((key) => `${below(key)} is missing`);
  const wrong = Object.entries(value).flatMap(([key, field]) => {
    const known = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (known) return schemaProblems(field, known, root, below(key));
    return schema.additionalProperties === false ? [`${below(key)} is not known; known are ${Object.keys(properties).join(", ")}`] : [];
  });
  return [...missing, ...wrong];
}

function numberProblems(
  value: number,
  { minimum = -Infinity, exclusiveMinimum = -Infinity, maximum = Infinity }: Schema,
  at: string,
): string[] {
  if (value <= exclusiveMinimum) return [`${at} must be above ${exclusiveMinimum}, got ${value}`];
  if (value < minimum) return [`${at} must be at least ${minimum}, got ${value}`];
  return value > maximum ? [`${at} must be at most ${maximum}, got ${value}`] : [];
}

function stringProblems(value: string, { minLength = 0, pattern, description }: Schema, at: string): string[] {
  if (value.length < minLength) return [`${at} is empty`];
  return pattern !== undefined && !new RegExp(pattern, "u").test(value)
    ? [`${at} is ${brief(value)}, which does not fit ${pattern}${description ? ` (${description})` : ""}`]
    : [];
}

const ARTICLES: Readonly<Record<NonNullable<Schema["type"]>, string>> = {
  object: "an object { }", array: "a list [ ]", string: "a text", integer: "a whole number", number: "a number", boolean: "true or false",
};

function hasType(value: unknown, type: NonNullable<Schema["type"]>): boolean {
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isSafeInteger(value);
  return typeof value === type;
}

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
