import { flagName, helpOf } from "../../../engine/options/flags.ts";
import type { Option, OptionTable } from "../../../engine/options/option.ts";
import { el, setOptions } from "./dom.ts";

type Field = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/**
 * The fields of a form that are options of a table: those the page has already get their ranges and choices from it, the others are made.
 */
export class OptionFields {
  private readonly fields = new Map<string, Field>();

  /** @param more where the fields go that the form does not have yet */
  constructor(
    form: HTMLFormElement,
    private readonly table: OptionTable,
    more: HTMLElement,
  ) {
    for (const [name, option] of Object.entries(table)) {
      const there = form.querySelector<Field>(`[name="${name}"]`);
      const field = there ?? makeField(name, option);
      if (!there) more.append(labelled(name, option, field));
      limit(field, option);
      this.fields.set(name, field);
    }
  }

  /** Shows the fields of one method, and hides what is of others only. */
  show(method: string): void {
    for (const [name, field] of this.fields) {
      const { of } = this.table[name]!;
      const place = field.closest<HTMLElement>("label") ?? field;
      place.hidden = of !== undefined && !of.includes(method);
    }
  }

  /** What the shown fields say; empty ones say nothing. */
  get given(): Readonly<Record<string, unknown>> {
    const shown = [...this.fields].filter(([, field]) => !(field.closest<HTMLElement>("label") ?? field).hidden);
    return Object.fromEntries(shown.map(([name, field]) => [name, valueOf(field, this.table[name]!)]));
  }
}

function makeField(name: string, option: Option<unknown>): Field {
  if (option.kind === "choice") return el("select", { name });
  const type = option.kind === "flag" ? "checkbox" : option.kind === "whole" || option.kind === "number" ? "number" : "text";
  const field = el("input", { name, type });
  if (option.kind !== "flag" && option.default !== undefined && option.default !== null) field.value = String(option.default);
  return field;
}

/** `timestepsPerStep` as "Timesteps per step" before its field. */
function labelled(name: string, { kind }: Option<unknown>, field: Field): HTMLLabelElement {
  const words = flagName(name).slice(2).replaceAll("-", " ");
  const text = `${words[0]!.toUpperCase()}${words.slice(1)}`;
  return kind === "flag" ? el("label", { class: "check" }, field, ` ${text}`) : el("label", {}, `${text} `, field);
}

function limit(field: Field, option: Option<unknown>): void {
  const { kind, choices, min, max } = option;
  field.title = helpOf(option);
  if (field instanceof HTMLSelectElement && choices) {
    const none = option.default === null ? [["", "none"] as const] : [];
    const chosen = field.value === "" ? String(option.default ?? "") : field.value;
    setOptions(field, [...none, ...choices.map((name) => [name, name] as const)], chosen);
  }
  if (!(field instanceof HTMLInputElement) || (kind !== "whole" && kind !== "number")) return;
  field.step = kind === "whole" ? "1" : "any";
  if (min !== undefined) field.min = String(min);
  if (max !== undefined && max < Number.MAX_SAFE_INTEGER) field.max = String(max);
}

/** A field's value as the option's; undefined where it is empty. */
function valueOf(field: Field, { kind }: Option<unknown>): unknown {
  if (field instanceof HTMLInputElement && kind === "flag") return field.checked;
  if (field.value.trim() === "") return undefined;
  return kind === "whole" || kind === "number" ? Number(field.value) : field.value;
}
