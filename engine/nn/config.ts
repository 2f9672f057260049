import { InputError } from "../runtime/errors.ts";

/** A component's config.json, read field by field with errors that name the file and the field. */
export class Config {
  constructor(readonly file: string, private readonly fields: Readonly<Record<string, unknown>>) {}

  /** @throws InputError if `json` is not an object. */
  static of(file: string, json: unknown): Config {
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new InputError(`${file}: expected a JSON object`);
    return new Config(file, json as Record<string, unknown>);
  }

  /** A field as it is. */
  get(name: string): unknown {
    return this.fields[name];
  }

  private fail(name: string, expected: string): never {
    throw new InputError(`${this.file}: "${name}" must be ${expected}, got ${JSON.stringify(this.fields[name]) ?? "nothing"}`);
  }

  /** A finite number. This and what follows @throws InputError naming file and field */
  number(name: string, fallback?: number): number {
    const value = this.fields[name] ?? fallback;
    return typeof value === "number" && Number.isFinite(value) ? value : this.fail(name, "a number");
  }

  /** A whole number above zero. */
  size(name: string, fallback?: number): number {
    const value = this.number(name, fallback);
    return Number.isInteger(value) && value > 0 ? value : this.fail(name, "a whole number above 0");
  }

  /** A string. */
  text(name: string, fallback?: string): string {
    const value = this.fields[name] ?? fallback;
    return typeof value === "string" ? value : this.fail(name, "a string");
  }

  /** True or false. */
  flag(name: string, fallback: boolean): boolean {
    const value = this.fields[name] ?? fallback;
    return typeof value === "boolean" ? value : this.fail(name, "true or false");
  }

  /** A list of whole numbers above 0. */
  sizes(name: string): number[] {
    const value = this.fields[name];
    const good = Array.isArray(value) && value.length > 0 && value.every((x) => Number.isInteger(x) && (x as number) > 0);
    return good ? (value as number[]) : this.fail(name, "a list of whole numbers above 0");
  }

  /** A list of strings. */
  texts(name: string): string[] {
    const value = this.fields[name];
    return Array.isArray(value) && value.length > 0 && value.every((x) => typeof x === "string")
      ? (value as string[])
      : this.fail(name, "a list of strings");
  }

  /** One number for all of `count` levels, or a list of one each. */
  perLevel(name: string, count: number): number[] {
    const value = this.fields[name];
    if (typeof value === "number") return new Array<number>(count).fill(this.size(name));
    const list = this.sizes(name);
    return list.length === count ? list : this.fail(name, `a number or a list of ${count}`);
  }

  /** @throws InputError unless the value is one of `allowed`. */
  oneOf<T extends string>(name: string, allowed: readonly T[], fallback?: T): T {
    const value = this.text(name, fallback);
    return (allowed as readonly string[]).includes(value) ? (value as T) : this.fail(name, `one of ${allowed.join(", ")}`);
  }

  /** @throws InputError if an option that changes the computation and that the engine does not have is set. */
  refuse(name: string, neutral: readonly unknown[]): void {
    const value = this.fields[name];
    if (value !== undefined && value !== null && !neutral.some((n) => JSON.stringify(n) === JSON.stringify(value))) {
      throw new InputError(
        `${this.file}: "${name}": ${JSON.stringify(value)} is not supported (only ${neutral.map((n) => JSON.stringify(n)).join(" or ")})`,
      );
    }
  }
}
