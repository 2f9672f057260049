import { SLD_STRENGTHS } from "../../engine/diffusion/guidance.ts";
import { SCHEDULER_NAMES } from "../../engine/diffusion/schedulers/index.ts";
import type { DrawRequest } from "../protocol.ts";
import { type Catalog, ChoiceFields } from "./catalog.ts";
import { field, find, numberOf, offer, setOptions } from "./parts/dom.ts";
import type { Engine } from "./engine.ts";
import { formatBytes, formatDuration } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";
import { setVeil, showPicture } from "./parts/picture.ts";

/** The Generate tab. @returns what to do when it is shown */
export function startGenerate(root: HTMLElement, engine: Engine, catalog: Catalog): ChoiceFields {
  const form = find<HTMLFormElement>(root, "form");
  const panel = new Panel(root);
  const choice = new ChoiceFields(form, engine, catalog, "", "drawBytes");
  const frame = find(root, "[data-picture]");
  const caption = find(root, "[data-caption]");
  const download = find<HTMLAnchorElement>(root, "[data-download]");
  const blur = field(form, "blur");
  setOptions(field<HTMLSelectElement>(form, "scheduler"), SCHEDULER_NAMES.map((name) => [name, name]), "ddim");
  setOptions(field<HTMLSelectElement>(form, "sld"), [["", "off"], ...SLD_STRENGTHS.map((s) => [s, s] as const)]);
  blur.onchange = () => {
    if (!frame.classList.contains("empty")) setVeil(frame, blur.checked);
  };
  choice.onModel(() => (blur.checked = !choice.harmless));

  choice.submit(() => {
    if (!panel.busy) void drawOne();
  });

  async function drawOne(): Promise<void> {
    const request = requestOf(form, choice);
    download.hidden = true;
    caption.textContent = "";
    const work = engine.start("draw", request, (news) => {
      if (news.type === "preview") showPicture(frame, news.picture, `Unfinished picture for: ${request.prompt}`, blur.checked);
      else if (news.type === "progress") panel.status(news.text, news.done);
      else panel.status(`step ${news.done} of ${news.total}`, news.done / news.total);
    });
    const drawn = await panel.runLong(form, work);
    if (!drawn) return;
    showPicture(frame, drawn.picture, `Picture drawn for: ${request.prompt}`, blur.checked);
    panel.status(`Drawn in ${formatDuration(drawn.seconds)}; at most ${formatBytes(drawn.peakBytes)} of device memory.`);
    caption.textContent = `${request.prompt} (seed ${request.seed}, ${drawn.scheduler}, ${request.steps} steps, guidance ` +
      `${request.guidance})`;
    offer(download, drawn.png, `lethe-${request.seed}.png`);
  }
  return choice;
}

function requestOf(form: HTMLFormElement, choice: ChoiceFields): DrawRequest {
  const scheduler = SCHEDULER_NAMES.find((name) => name === field<HTMLSelectElement>(form, "scheduler").value) ?? "ddim";
  const sld = SLD_STRENGTHS.find((s) => s === field<HTMLSelectElement>(form, "sld").value) ?? null;
  return {
    choice: choice.value,
    prompt: field<HTMLTextAreaElement>(form, "prompt").value,
    negativePrompt: field(form, "negativePrompt").value,
    steps: numberOf(form, "steps"),
    scheduler,
    guidance: numberOf(form, "guidance"),
    seed: numberOf(form, "seed"),
    sld,
    safree: field(form, "safree").value.trim() || null,
    preview: field(form, "preview").checked,
  };
}
