import type { Pixels } from "../protocol.ts";
import { el } from "./dom.ts";

/** Shows a picture in a frame; a veiled one is blurred until its button is pressed, and again after another press. */
export function showPicture(frame: HTMLElement, { data, width, height }: Pixels, alt: string, blurred: boolean): void {
  frame.classList.remove("empty");
  let canvas = frame.querySelector("canvas");
  if (!canvas) {
    canvas = el("canvas", { role: "img" });
    frame.replaceChildren(canvas);
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.setAttribute("aria-label", alt);
  canvas.getContext("2d")!.putImageData(new ImageData(data, width, height), 0, 0);
  setVeil(frame, blurred);
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
