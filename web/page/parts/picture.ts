import type { Picture } from "../../protocol.ts";
import { el, promptText } from "./dom.ts";

/** Shows a picture in a frame; a veiled one is blurred until its button is pressed, and again after another press. */
export function showPicture(frame: HTMLElement, { file, width, height }: Picture, alt: string, blurred: boolean): void {
  const image = el("img", { alt, width: String(width), height: String(height) });
  image.src = URL.createObjectURL(file);
  frame.dataset["latest"] = image.src;
  // The one before stays until this one can be shown; one that is late gives way to a later.
  void image.decode().catch(() => undefined).then(() => {
    URL.revokeObjectURL(image.src);
    if (frame.dataset["latest"] !== image.src) return;
    frame.classList.remove("empty");
    const before = frame.querySelector("img");
    if (before) before.replaceWith(image);
    else frame.replaceChildren(image);
    setVeil(frame, blurred);
  });
}

/** Puts the veil on a frame that has none, or takes it away; one that was lifted stays lifted. */
export function setVeil(frame: HTMLElement, blurred: boolean): void {
  const button = frame.querySelector<HTMLButtonElement>(".reveal");
  if (!blurred) {
    frame.classList.remove("veiled");
    button?.remove();
  } else if (!button) {
    frame.classList.add("veiled");
    frame.append(veilButton(frame));
  }
}

function veilButton(frame: HTMLElement): HTMLButtonElement {
  const button = el("button", { type: "button", class: "reveal", "aria-pressed": "false" }, "show");
  button.onclick = (): void => {
    const veiled = frame.classList.toggle("veiled");
    button.setAttribute("aria-pressed", String(!veiled));
    button.textContent = veiled ? "show" : "hide";
  };
  return button;
}

/** What is said of a picture in a list. */
interface Card {
  /** It shows the concept. */
  readonly hit: boolean;
  readonly title: string;
  readonly prompt: string;
  readonly when: string;
}

/** Adds a picture to a list of pictures, whose first words go. */
export function addCard(list: HTMLElement, frame: HTMLElement, { hit, title, prompt, when }: Card): void {
  list.querySelector(".hint")?.remove();
  const said = [el("p", { class: "judged" }, title), el("p", {}, promptText(prompt)), el("p", { class: "when" }, when)];
  list.append(el("li", hit ? { class: "hit" } : {}, frame, ...said));
}
