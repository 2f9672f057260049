/** Small helpers for elements. Text goes in as text, never as HTML. */

export type Child = Node | string;

/** An element with attributes and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The element for a selector. @throws Error if the page has none: page and code do not belong together */
export function find<T extends Element = HTMLElement>(root: ParentNode, selector: string): T {
  const found = root.querySelector<T>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/** Places of the page below an element, by their names: `data-NAME`. @throws as `find` */
export function places<N extends string>(root: ParentNode, names: readonly N[]): Readonly<Record<N, HTMLElement>> {
  return Object.fromEntries(names.map((name) => [name, find(root, `[data-${name}]`)])) as Record<N, HTMLElement>;
}

/** A form's field by name. */
export function field<T extends HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement = HTMLInputElement>(
  form: HTMLFormElement,
  name: string,
): T {
  return find<T>(form, `[name="${name}"]`);
}

export function numberOf(form: HTMLFormElement, name: string): number {
  return field(form, name).valueAsNumber;
}

/** Fills a select; the value stays if it is still there. */
export function setOptions(
  select: HTMLSelectElement,
  options: readonly (readonly [value: string, text: string])[],
  wanted = select.value,
): void {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  if (options.some(([value]) => value === wanted)) select.value = wanted;
}

/** A prompt, apart from the direction of the text around it, with every character that does not print shown by its code point. */
export function promptText(text: string): HTMLElement {
  return el(
    "bdi",
    {},
    text.replace(/[\p{C}\p{Zl}\p{Zp}\ufffd]/gu, (c) => `<U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}>`),
  );
}

/** Rows under a header, in a box that scrolls sideways where it must. */
export function table(
  caption: string,
  header: readonly string[],
  numeric: ReadonlySet<number>,
): { readonly element: HTMLElement; add(cells: readonly Child[], bad?: boolean): void } {
  const cell = (tag: "th" | "td", i: number, child: Child): HTMLElement =>
    el(tag, { ...(numeric.has(i) && { class: "number" }), ...(tag === "th" && { scope: "col" }) }, child);
  const body = el("tbody");
  const element = el(
    "div",
    { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    el(
      "table",
      {},
      el("caption", { class: "sr" }, caption),
      el("thead", {}, el("tr", {}, ...header.map((h, i) => cell("th", i, h)))),
      body,
    ),
  );
  return {
    element,
    add: (cells, bad = false) => body.append(el("tr", bad ? { class: "bad" } : {}, ...cells.map((c, i) => cell("td", i, c)))),
  };
}

/** Offers a blob for download by a link that is there already. The address of an earlier one is given back. */
export function offer(link: HTMLAnchorElement, blob: Blob, name: string): void {
  if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.hidden = false;
}
