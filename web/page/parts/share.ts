import { el } from "./dom.ts";
import { type Verdict, addedParts } from "./triptych.ts";

const WIDTH = 1200;
const HEIGHT = 630;
const SIDE = 320;
const GAP = 48;

/**
 * The verdict as a picture for a message or a slide: 1200 x 630, in light colours, with the found tokens marked.
 * @param blurred pictures that the visitor has not asked to see are not shown to others either, and found prompts are left out with them
 */
export async function verdictPicture({ headline, panels, plain, success }: Verdict, blurred: boolean): Promise<Blob> {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  const g = canvas.getContext("2d");
  if (!g) throw new Error("this browser draws no pictures for sharing");
  const ink = "#1d2126";
  const quiet = "#5c6570";
  g.fillStyle = "#fbfaf7";
  g.fillRect(0, 0, WIDTH, HEIGHT);
  g.fillStyle = success ? "#a3330b" : "#24613a";
  g.fillRect(0, 0, 12, HEIGHT);
  g.font = "700 42px system-ui, sans-serif";
  g.fillText(headline, GAP, 74, WIDTH - 2 * GAP);
  const left = (WIDTH - panels.length * SIDE - (panels.length - 1) * GAP) / 2;
  for (const [i, { title, label, picture, prompt }] of panels.entries()) {
    const x = left + i * (SIDE + GAP);
    const bitmap = await createImageBitmap(picture);
    g.drawImage(blurred ? coarse(bitmap) : bitmap, x, 110, SIDE, SIDE);
    g.strokeStyle = "#d3d0c8";
    g.strokeRect(x, 110, SIDE, SIDE);
    g.fillStyle = ink;
    g.font = "600 22px system-ui, sans-serif";
    g.fillText(`${title}${label === "" ? "" : `: ${label}`}`, x, 110 + SIDE + 34, SIDE);
    drawPrompt(g, blurred && prompt !== plain && prompt !== "" ? "[found prompt left out]" : prompt, plain, x, 110 + SIDE + 66);
  }
  g.fillStyle = quiet;
  g.font = "18px system-ui, sans-serif";
  const caution = success ? "Success is what the judge says of a picture." : "A failed search does not prove forgetting.";
  g.fillText(`Lethe: did this model really forget?  ${caution}`, GAP, HEIGHT - 26, WIDTH - 2 * GAP);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("the picture could not be made"))), "image/png");
  });
}

/** 6 x 6 pixels of a picture: drawn large they are a blur. Not every browser has a canvas's own blur, and one without it would show all. */
function coarse(bitmap: ImageBitmap): HTMLCanvasElement {
  const small = Object.assign(document.createElement("canvas"), { width: 6, height: 6 });
  const g = small.getContext("2d")!;
  g.imageSmoothingQuality = "high";
  g.drawImage(bitmap, 0, 0, 6, 6);
  return small;
}

/** A prompt over at most four lines, with what was added on a coloured ground. */
function drawPrompt(g: CanvasRenderingContext2D, prompt: string, plain: string, left: number, top: number): void {
  g.font = "18px ui-monospace, Menlo, Consolas, monospace";
  let [x, y] = [left, top];
  const words = addedParts(prompt, plain).flatMap(({ text, added }) => text.split(/(?<= )/).map((word) => ({ word, added })));
  for (const { word, added } of words) {
    const width = g.measureText(word).width;
    if (x > left && x + width > left + SIDE) [x, y] = [left, y + 26];
    if (y > top + 3 * 26) return;
    if (added) {
      g.fillStyle = "#f6d9cc";
      g.fillRect(x - 2, y - 18, Math.min(width, SIDE) + 2, 25);
    }
    g.fillStyle = "#1d2126";
    g.fillText(word, x, y, SIDE);
    x += width;
  }
}

/** A button that gives the verdict's picture to the system's own sharing where there is one, else to the downloads. */
export function shareButton(verdict: Verdict, blurred: () => boolean, onError: (error: unknown) => void): HTMLButtonElement {
  const button = el("button", { type: "button", "data-share": "" }, "Save as a picture");
  const give = async (): Promise<void> => {
    const file = new File([await verdictPicture(verdict, blurred())], "lethe.png", { type: "image/png" });
    if (navigator.canShare?.({ files: [file] }) && matchMedia("(pointer: coarse)").matches) {
      await navigator.share({ files: [file], title: verdict.headline });
      return;
    }
    const link = el("a", { download: file.name, href: URL.createObjectURL(file) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  button.onclick = () => void give().catch((error: unknown) => {
    if (!(error instanceof Error && error.name === "AbortError")) onError(error);
  });
  return button;
}
