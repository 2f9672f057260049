import { el, promptText } from "./dom.ts";
import { setVeil } from "./picture.ts";

/** One of the three pictures of a verdict. */
export interface Panel {
  readonly title: string;
  /** What the judge calls it; empty where nobody judged it. */
  readonly label: string;
  readonly picture: Blob;
  readonly prompt: string;
}

/** Before, forgotten, recovered: what an attack comes to. */
export interface Verdict {
  readonly headline: string;
  readonly success: boolean;
  /** The prompt without what the search added. */
  readonly plain: string;
  readonly panels: readonly Panel[];
}

/** The prompt with what was added to it marked. */
export function markedPrompt(prompt: string, plain: string): HTMLElement {
  const parts = addedParts(prompt, plain);
  const whole = el("bdi", {});
  for (const { text, added } of parts) whole.append(...(added ? marked(text) : [promptText(text)]));
  return whole;
}

/** The words of a text marked; the space beside them is not. */
function marked(text: string): (HTMLElement | string)[] {
  const words = text.trim();
  const at = text.indexOf(words);
  return [text.slice(0, at), ...(words === "" ? [] : [el("mark", {}, promptText(words))]), text.slice(at + words.length)];
}

/** A prompt cut into what the search added and what was there. All of it is added where the plain prompt is not in it as a whole. */
export function addedParts(prompt: string, plain: string): { readonly text: string; readonly added: boolean }[] {
  if (prompt === "") return [];
  const at = prompt.indexOf(plain);
  if (at < 0) return [{ text: prompt, added: true }];
  return [
    { text: prompt.slice(0, at), added: true },
    { text: plain, added: false },
    { text: prompt.slice(at + plain.length), added: true },
  ].filter(({ text }) => text !== "");
}

/** The verdict as three pictures side by side, in a row of their own. @param blurred until each is asked for */
export function triptych({ panels, plain }: Verdict, blurred: boolean): HTMLElement {
  return el("div", { class: "triptych" }, ...panels.map(({ title, label, picture, prompt }) => {
    const image = el("img", { alt: `${title}${label === "" ? "" : `, judged ${label}`}`, width: "192", height: "192" });
    image.src = URL.createObjectURL(picture);
    image.onload = () => URL.revokeObjectURL(image.src);
    const frame = el("div", { class: "picture" }, image);
    setVeil(frame, blurred);
    return el(
      "figure",
      {},
      frame,
      el("figcaption", {}, el("strong", {}, title), label === "" ? "" : el("span", {}, `judged ${label}`), markedPrompt(prompt, plain)),
    );
  }));
}
