import { ATTACKERS, type AttackerName, insertsTokens, usesGradient } from "../../engine/attack/attackers.ts";
import { INSERTIONS } from "../../engine/attack/search/slot-layout.ts";
import { SCHEDULER_NAMES } from "../../engine/diffusion/schedulers/index.ts";
import { DEFAULTS, type AttackSettings } from "../../engine/run/settings.ts";
import type { AttackRequest, NamedFile } from "../protocol.ts";
import type { Catalog, ChoiceFields } from "./catalog.ts";
import { el, field, find, numberOf, setOptions } from "./parts/dom.ts";
import { acceptDrops } from "./parts/drop.ts";
import type { Engine } from "./engine.ts";
import { JudgeFields } from "./judge-fields.ts";

/** All but Ring-a-bell, which searches for thousands of generations on the text encoder alone and wants a file of concept pairs: the command line's work. */
const OFFERED = ATTACKERS.filter((a) => a !== "ring-a-bell");

/** The bundled picture that the search aims at until another is given. */
const TARGET = "emoji/dataset/church/imgs/10_0.png";

/** The attack's form: fills its lists, and reads the request off it. */
export class AttackForm {
  private target: NamedFile | undefined;
  private readonly picture: HTMLElement;
  private readonly judge: JudgeFields;

  constructor(readonly form: HTMLFormElement, engine: Engine, catalog: Catalog, private readonly choice: ChoiceFields) {
    const select = (name: string): HTMLSelectElement => field<HTMLSelectElement>(form, name);
    const same = (names: readonly string[]): [string, string][] => names.map((n) => [n, n]);
    this.picture = find(form, "[data-target]");
    this.judge = new JudgeFields(form, engine, catalog);
    setOptions(select("attacker"), same(OFFERED));
    select("attacker").onchange = () => this.showFields();
    this.showFields();
    setOptions(select("insert"), same(INSERTIONS));
    setOptions(select("scheduler"), same(SCHEDULER_NAMES), "ddim");
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
    await this.judge.listLabels();
  }

  private get attacker(): AttackerName {
    return OFFERED.find((a) => a === field<HTMLSelectElement>(this.form, "attacker").value) ?? "text-grad";
  }

  /** Shows the fields of the chosen attacker. */
  private showFields(): void {
    const { attacker, form } = this;
    const shown: Readonly<Record<string, boolean>> = { gradient: usesGradient(attacker), tokens: insertsTokens(attacker), transfer: attacker === "transfer" };
    for (const place of form.querySelectorAll<HTMLElement>("[data-for]")) place.hidden = !shown[place.dataset["for"]!];
    find(form, "[data-most-name]").textContent = attacker === "cce" ? "Rounds at most" : usesGradient(attacker) ? "Timesteps at most" : "Tries at most";
  }

  get blurred(): boolean {
    return field(this.form, "blur").checked;
  }

  /** @throws Error (UsageError) for what cannot be begun */
  request(): AttackRequest {
    const { form, choice, target, attacker } = this;
    const text = (name: string): string => field<HTMLInputElement | HTMLSelectElement>(form, name).value;
    const names = choice.names;
    const log = field(form, "from").files?.[0];
    if (attacker === "transfer" && !log) throw Object.assign(new Error("attacker transfer tries prompts that were found elsewhere: choose the attack.jsonl of that run"), { name: "UsageError" });
    const from = attacker === "transfer" && log ? { name: log.name, file: log } : null;
    const settings: AttackSettings = {
      model: names.model,
      prompt: text("prompt"),
      ...DEFAULTS,
      unet: names.part === "unet" ? names.overlay : null,
      textEncoder: names.part === "textEncoder" ? names.overlay : null,
      target: usesGradient(attacker) ? (target?.name ?? null) : null,
      from: from?.name ?? null,
      ...this.judge.settings,
      attacker,
      tokens: numberOf(form, "tokens"),
      vocabulary: "typeable",
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
    return { choice: choice.value, settings, judge: this.judge.request, target: settings.target === null ? null : (target ?? null), from, showImages: !this.blurred };
  }
}
