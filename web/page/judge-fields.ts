import {
  JUDGES,
  type JudgeChoice,
  type JudgeName,
  isJudgeName,
  judgeHasLabels,
  judgeProblems,
  judgeRule,
  judgeTakes,
} from "../../engine/attack/judges/options.ts";
import { NUDENET_PRESETS, type NudeNetPresetName } from "../../engine/vision/nudenet.ts";
import type { JudgeSettings } from "../../engine/run/settings/judge.ts";
import type { Entry, JudgeRequest } from "../protocol.ts";
import type { Catalog } from "./catalog.ts";
import { el, field, find, setOptions } from "./parts/dom.ts";
import type { Engine } from "./engine.ts";

/** What a judge's weights are. */
const WEIGHTS: Readonly<Record<JudgeName, Entry["kind"] | undefined>> = {
  classifier: "classifier",
  style: "classifier",
  nudenet: "detector",
  q16: "clip",
  "clip-score": "clip",
  diffusion: undefined,
};

/** What the record calls the prompts that were typed for the judge "diffusion". */
const TYPED_PROMPTS = "judge-prompts.txt";

/** The part of the attack's form that says who judges. Names of fields are those of the command line's options. */
export class JudgeFields {
  private readonly judge: HTMLSelectElement;
  private readonly model: HTMLSelectElement;
  private readonly prompts: HTMLSelectElement;
  private readonly preset: HTMLSelectElement;

  constructor(private readonly form: HTMLFormElement, private readonly engine: Engine, private readonly catalog: Catalog) {
    const select = (name: string): HTMLSelectElement => field<HTMLSelectElement>(form, name);
    [this.judge, this.model, this.prompts, this.preset] = [
      select("judge"),
      select("judgeModel"),
      select("judgePrompts"),
      select("judgePreset"),
    ];
    setOptions(
      this.judge,
      Object.keys(JUDGES).map((name) => [name, name]),
    );
    setOptions(
      this.preset,
      Object.keys(NUDENET_PRESETS).map((name) => [name, name]),
      "unlearndiffatk",
    );
    catalog.onChange(() => this.show());
    this.judge.addEventListener("change", () => {
      this.show();
      void this.listLabels();
    });
    this.model.addEventListener("change", () => void this.listLabels());
    form.addEventListener("input", () => this.showRule());
  }

  private get name(): JudgeName {
    return isJudgeName(this.judge.value) ? this.judge.value : "classifier";
  }

  /** Shows the fields of the chosen judge, and what can be chosen in them. */
  private show(): void {
    const { name, form } = this;
    const takes = new Set<string>(judgeTakes(name));
    if (takes.delete("prompts")) takes.add(name === "diffusion" ? "lines" : "embeddings");
    for (const place of form.querySelectorAll<HTMLElement>("[data-takes]")) place.hidden = !takes.has(place.dataset["takes"]!);
    const kind = WEIGHTS[name];
    const none = [["", "none: see Models"]] as const;
    const choices = kind ? this.catalog.options(kind) : [];
    setOptions(this.model, choices.length > 0 ? choices : none);
    const embeddings = this.catalog.options("prompts");
    setOptions(this.prompts, embeddings.length > 0 ? embeddings : none);
    find(form, "[data-label-name]").textContent = judgeHasLabels(name) ? "Label" : "What the report calls it";
    field(form, "judgeThreshold").placeholder = name === "nudenet" ? "0.45" : name === "q16" ? "0.5" : "e.g. 26";
    this.showRule();
  }

  private showRule(): void {
    const { name, choice } = this.request;
    const problems = judgeProblems(name, choice);
    find(this.form, "[data-rule]").textContent = problems.length > 0 ? `${problems.join("; ")}.` : `A success: ${judgeRule(name, choice)}.`;
  }

  /** Offers the labels that the judge knows. */
  async listLabels(): Promise<void> {
    const { value: classifier } = this.model;
    const asked = this.judge.value;
    // the attack itself will say what is wrong with it
    const labels =
      WEIGHTS[this.name] === "classifier" && classifier !== "" ? await this.engine.call("labels", { classifier }).catch(() => []) : [];
    if (classifier === this.model.value && asked === this.judge.value) {
      document.getElementById("labels")!.replaceChildren(...labels.map((value) => el("option", { value })));
    }
  }

  private text(name: string): string | undefined {
    return field<HTMLInputElement | HTMLTextAreaElement>(this.form, name).value.trim() || undefined;
  }

  /** What the Worker is asked for; only what the judge takes. */
  get request(): JudgeRequest {
    const { name } = this;
    const number = (of: string): number | undefined => (this.text(of) === undefined ? undefined : Number(this.text(of)));
    const prompts = name === "diffusion" ? this.text("judgeLines") : this.prompts.value || undefined;
    const all: JudgeChoice = {
      model: this.model.value || undefined,
      label: this.text("label"),
      top: number("judgeTop"),
      threshold: number("judgeThreshold"),
      preset: this.preset.value as NudeNetPresetName,
      prompts,
      text: this.text("judgeText"),
    };
    return { name, choice: Object.fromEntries(judgeTakes(name).map((option) => [option, all[option]])) };
  }

  /** The same as the command line has it: a bundled classifier and one's own by their short forms, dropped files by their names. */
  get settings(): JudgeSettings {
    const { name, choice } = this.request;
    const entry = this.catalog.find(choice.model ?? null);
    const prompts = name === "diffusion" ? TYPED_PROMPTS : (this.catalog.find(choice.prompts ?? null)?.name ?? null);
    const none = {
      classifier: null,
      judgeModel: null,
      judgeTop: choice.top ?? null,
      judgeThreshold: choice.threshold ?? null,
      judgePreset: choice.preset ?? null,
      judgePrompts: choice.prompts === undefined ? null : prompts,
      judgeText: choice.text ?? null,
      label: this.text("label") ?? null,
    };
    if (name === "classifier") {
      return entry?.origin === "bundled" ? { ...none, judge: entry.name } : { ...none, judge: null, classifier: entry?.name ?? null };
    }
    return { ...none, judge: name, judgeModel: (entry?.origin === "bundled" ? entry.id : entry?.name) ?? null };
  }
}
