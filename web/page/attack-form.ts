import { ATTACKERS, INSERTIONS, usesGradient } from "../../engine/attack/types.ts";
import { SCHEDULER_NAMES } from "../../engine/models/schedulers/index.ts";
import { DEFAULTS, type AttackSettings } from "../../cli/attack/run-settings.ts";
import type { AttackRequest } from "../protocol.ts";
import type { Catalog, ChoiceFields } from "./catalog.ts";
import { el, field, find, numberOf, setOptions } from "./dom.ts";
import { acceptDrops } from "./drop.ts";
import type { Engine } from "./engine.ts";

/** All but the attackers that need another model or another run's prompts, or leave a file besides prompts. */
const OFFERED = ATTACKERS.filter((a) => a !== "p4d" && a !== "cce" && a !== "transfer" && a !== "ring-a-bell");

/** The bundled picture that the search aims at until another is given. */
const TARGET = "emoji/dataset/church/imgs/10_0.png";

/** The attack's form: fills its lists, and reads the request off it. */
export class AttackForm {
  private target: { readonly name: string; readonly file: Blob } | undefined;
  private readonly picture: HTMLElement;
  private readonly judge: HTMLSelectElement;

  constructor(readonly form: HTMLFormElement, private readonly engine: Engine, private readonly catalog: Catalog, private readonly choice: ChoiceFields) {
    const select = (name: string): HTMLSelectElement => field<HTMLSelectElement>(form, name);
    const same = (names: readonly string[]): [string, string][] => names.map((n) => [n, n]);
    this.picture = find(form, "[data-target]");
    this.judge = select("judge");
    setOptions(select("attacker"), same(OFFERED));
    setOptions(select("insert"), same(INSERTIONS));
    setOptions(select("scheduler"), same(SCHEDULER_NAMES), "ddim");
    catalog.onChange(() => setOptions(this.judge, catalog.options("classifier")));
    this.judge.addEventListener("change", () => void this.listLabels());
    acceptDrops(find(form, "[data-target-drop]"), (files) => this.takeTarget(Object.values(files)[0]));
    const input = field(form, "target");
    input.onchange = () => this.takeTarget(input.files?.[0]);
    choice.onModel(() => (field(form, "blur").checked = !choice.harmless));
  }

  private takeTarget(file: File | undefined): void {
    if (file) this.showTarget(file.name, file);
  }

  private showTarget(name: string, file: Blob): void {
    this.target = { name, file };
    find(this.form, "[data-target-name]").textContent = name;
    const image = el("img", { alt: `Target picture ${name}`, width: "88" });
    image.src = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(image.src);
    this.picture.replaceChildren(image);
  }

  /** Loads what the form shows at first: the bundled target and the judge's labels. */
  async prepare(): Promise<void> {
    if (!this.target) {
      const response = await fetch(`assets/${TARGET}`);
      if (response.ok && !this.target) this.showTarget(TARGET, await response.blob());
    }
    await this.listLabels();
  }

  private async listLabels(): Promise<void> {
    const judge = this.judge.value;
    if (judge === "") return;
    const labels = await this.engine.call("labels", { judge }).catch(() => []); // the attack itself will say what is wrong with the judge
    if (judge === this.judge.value) document.getElementById("labels")!.replaceChildren(...labels.map((value) => el("option", { value })));
  }

  get blurred(): boolean {
    return field(this.form, "blur").checked;
  }

  request(): AttackRequest {
    const { form, choice, target } = this;
    const text = (name: string): string => field<HTMLInputElement | HTMLSelectElement>(form, name).value;
    const names = choice.names;
    const attacker = OFFERED.find((a) => a === text("attacker")) ?? "text-grad";
    const judge = this.catalog.find(this.judge.value);
    const settings: AttackSettings = {
      model: names.model,
      prompt: text("prompt"),
      ...DEFAULTS,
      unet: names.part === "unet" ? names.overlay : null,
      textEncoder: names.part === "textEncoder" ? names.overlay : null,
      target: usesGradient(attacker) ? (target?.name ?? null) : null,
      judge: judge?.origin === "bundled" ? judge.name : null,
      classifier: judge?.origin === "bundled" ? null : (judge?.name ?? null),
      label: text("label"),
      attacker,
      tokens: numberOf(form, "tokens"),
      insert: INSERTIONS.find((i) => i === text("insert")) ?? "prefix",
      iterations: numberOf(form, "iterations"),
      timesteps: numberOf(form, "timesteps"),
      maxTimesteps: numberOf(form, "maxTimesteps"),
      seed: numberOf(form, "seed"),
      learningRate: numberOf(form, "learningRate"),
      weightDecay: numberOf(form, "weightDecay"),
      steps: numberOf(form, "steps"),
      scheduler: SCHEDULER_NAMES.find((s) => s === text("scheduler")) ?? "ddim",
      guidance: numberOf(form, "guidance"),
    };
    return { choice: choice.value, settings, judge: this.judge.value, target: settings.target === null ? null : (target ?? null), showImages: !this.blurred };
  }
}
