import { ATTACKERS, type AttackerName, isProbe, needsPicture, usesGradient } from "../../engine/attack/attackers.ts";
import { pick } from "../../engine/options/values.ts";
import { JUDGE_OPTIONS } from "../../engine/run/settings/judge.ts";
import { RUN_OPTIONS } from "../../engine/run/settings/option-table.ts";
import { ATTACK_OPTIONS } from "../../engine/attack/option-table.ts";
import { newSettings } from "../../engine/run/settings/settings.ts";
import type { AttackRequest, NamedFile } from "../protocol.ts";
import type { Catalog, ChoiceFields } from "./catalog.ts";
import { el, field, find } from "./parts/dom.ts";
import { acceptDrops } from "./parts/drop.ts";
import type { Engine } from "./engine.ts";
import { JudgeFields } from "./judge-fields.ts";
import { OptionFields } from "./parts/option-fields.ts";

/**
 * The options that are fields of the form: how the prompt is searched and drawn. What says which model, judge and files has fields of its
 * own.
 */
const { attacker: ATTACKER, casesPerStep: _, ...SEARCH } = ATTACK_OPTIONS;
const { prompt, gate, gateMargin, gateSamples } = RUN_OPTIONS;
/** The probes that need nothing but pictures and prompts. */
const PROBES: readonly AttackerName[] = ["img2img", "ddim-inversion", "noise-probe"];
const OFFERED = ATTACKERS.filter((attacker) => !isProbe(attacker) || PROBES.includes(attacker));
const FIELDS = { prompt, attacker: { ...ATTACKER, choices: OFFERED }, ...SEARCH, gate, gateMargin, gateSamples };

/** The bundled pairs that tell Ring-a-bell what a church is, until others are given. */
const PAIRS = "emoji/concept-pairs/church.csv";

/** The bundled picture of something else, for probes' controls until another is given. */
const CONTROL = "emoji/control/banana.png";

/** The bundled picture that the search aims at until another is given. */
const TARGET = "emoji/dataset/church/imgs/10_0.png";

/** The attack's form: fills its lists, and reads the request off it. */
export class AttackForm {
  private target: NamedFile | undefined;
  private bundledPairs: NamedFile | undefined;
  private bundledControl: NamedFile | undefined;
  private readonly picture: HTMLElement;
  private readonly judge: JudgeFields;
  private readonly options: OptionFields;

  constructor(
    readonly form: HTMLFormElement,
    engine: Engine,
    private readonly catalog: Catalog,
    private readonly choice: ChoiceFields,
  ) {
    this.options = new OptionFields(form, FIELDS, find(form, "[data-more-options]"));
    this.picture = find(form, "[data-target]");
    this.judge = new JudgeFields(form, engine, catalog);
    for (const name of ["attacker", "gate"]) field<HTMLSelectElement>(form, name).onchange = () => this.showFields();
    field<HTMLSelectElement>(form, "scheduler").value = "ddim";
    field<HTMLSelectElement>(form, "vocabulary").value = "typeable"; // a prompt found here is copied out of the page
    this.showFields();
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
    find(this.form, "[data-target-name]").textContent = name.replaceAll("/", "/\u200b"); // a long path breaks between folders
    const image = el("img", { alt: `Target picture ${name}`, width: "88" });
    image.src = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(image.src);
    this.picture.replaceChildren(image);
  }

  /** Offers the labels of the judge. */
  listLabels(): Promise<void> {
    return this.judge.listLabels();
  }

  /** Waits for what the form begins with: the list of files, and the bundled ones that stand until others are given. */
  async prepare(): Promise<void> {
    await this.catalog.loaded;
    const first = this.target ? undefined : await bundled(TARGET);
    if (first && !this.target) this.showTarget(first.name, first.file);
    this.bundledPairs ??= await bundled(PAIRS);
    this.bundledControl ??= await bundled(CONTROL);
  }

  private get attacker(): AttackerName {
    return ATTACKERS.find((a) => a === field<HTMLSelectElement>(this.form, "attacker").value) ?? "text-grad";
  }

  /** Whether the attack needs a picture of the concept. */
  private get aims(): boolean {
    return needsPicture(this.attacker) || field<HTMLSelectElement>(this.form, "gate").value !== "";
  }

  /** Whether the attack is a probe of a picture, one of whose controls is another picture. */
  private get takesControl(): boolean {
    return isProbe(this.attacker) && needsPicture(this.attacker);
  }

  /** Shows the fields of the chosen attacker. */
  private showFields(): void {
    const { attacker, form } = this;
    this.options.show(attacker);
    find(form, "[data-target-field]").hidden = !this.aims;
    find(form, "[data-control-field]").hidden = !this.takesControl;
    find(form, "[data-from-field]").hidden = attacker !== "transfer";
    find(form, "[data-pairs-field]").hidden = attacker !== "ring-a-bell";
    find(form, "[data-most-name]").textContent =
      attacker === "cce" ? "Rounds at most" : usesGradient(attacker) ? "Timesteps at most" : "Tries at most";
  }

  /** Whether the prompt names a concept; if it does not, the concept takes its place. */
  names(concept: string): boolean {
    const words = field<HTMLTextAreaElement>(this.form, "prompt");
    if (words.value.toLowerCase().includes(concept.toLowerCase())) return true;
    words.value = concept;
    return false;
  }

  get blurred(): boolean {
    return field(this.form, "blur").checked;
  }

  /** @throws Error (UsageError) for what cannot be begun */
  request(): AttackRequest {
    const { form, choice, target, attacker } = this;
    const names = choice.names;
    const log = field(form, "from").files?.[0];
    if (attacker === "transfer" && !log) {
      throw usage("attacker transfer tries prompts that were found elsewhere: choose the attack.jsonl of that run");
    }
    if (attacker === "p4d" && names.overlay === null) {
      throw usage(
        'attacker "p4d" compares with the model before unlearning: choose the weights that were unlearned, they are left out of it',
      );
    }
    const chosen = field(form, "pairs").files?.[0];
    const pairs = attacker !== "ring-a-bell" ? null : chosen ? { name: chosen.name, file: chosen } : (this.bundledPairs ?? null);
    const from = attacker === "transfer" && log ? { name: log.name, file: log } : null;
    const other = field(form, "control").files?.[0];
    const control = !this.takesControl ? null : other ? { name: other.name, file: other } : (this.bundledControl ?? null);
    const settings = newSettings({
      model: names.model,
      [names.part]: names.overlay ?? undefined,
      ...(this.aims && target && { target: target.name }),
      ...(from && { from: from.name }),
      ...(pairs && { conceptPairs: pairs.name }),
      ...(control && { controlPicture: control.name }),
      ...pick(JUDGE_OPTIONS, this.judge.settings),
      ...this.options.given,
    });
    return {
      choice: choice.value,
      settings,
      judge: this.judge.request,
      target: settings.target === null ? null : (target ?? null),
      from,
      pairs,
      control,
      showImages: !this.blurred,
    };
  }
}

/** A file that comes with the page; undefined if it cannot be had. */
async function bundled(name: string): Promise<NamedFile | undefined> {
  const response = await fetch(`assets/${name}`).catch(() => undefined);
  return response?.ok ? { name, file: await response.blob() } : undefined;
}

function usage(message: string): Error {
  return Object.assign(new Error(message), { name: "UsageError" });
}
