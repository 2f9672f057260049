import type { AttackResult } from "../../engine/attack/events.ts";
import type { ProbeResult } from "../../engine/attack/probes/controls.ts";
import { insertsTokens, usesGradient } from "../../engine/attack/attackers.ts";
import type { AttackNews, Choice, Slot } from "../protocol.ts";
import { AttackForm } from "./attack-form.ts";
import { watchHidden } from "./parts/awake.ts";
import { type Catalog, ChoiceFields } from "./catalog.ts";
import { LossCurve } from "./parts/curve.ts";
import { el, find, offer, places, promptText } from "./parts/dom.ts";
import type { Engine, Running } from "./engine.ts";
import { formatDuration } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";
import { addCard, showPicture } from "./parts/picture.ts";
import { shareButton } from "./parts/share.ts";
import { type Panel as Shown, type Verdict, triptych } from "./parts/triptych.ts";

/** The demo's unlearned UNet. */
const UNLEARNED = "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt";

const RECOVERED = "Recovered";

/** The Attack tab. */
export class AttackTab {
  readonly choice: ChoiceFields;
  readonly form: AttackForm;
  private readonly panel: Panel;
  private readonly curve: LossCurve;
  /** `loss` and `tokens` hold the curve and the slots: an attacker without losses or without tokens has no use for them. */
  private readonly at: Readonly<Record<"slots" | "loss" | "tokens" | "cards" | "verdict" | "unfinished", HTMLElement>>;
  private readonly pauseButton: HTMLButtonElement;
  private total = 1;
  private done = 0;
  private label = "";
  private paused = false;
  /** Of the attack under way: the target, and what was drawn for the plain prompt and after it. */
  private target: Shown | undefined;
  private drawn: Shown[] = [];

  constructor(private readonly root: HTMLElement, private readonly engine: Engine, catalog: Catalog) {
    const form = find<HTMLFormElement>(root, "form");
    this.panel = new Panel(root);
    this.choice = new ChoiceFields(form, engine, catalog, UNLEARNED, "attackBytes");
    this.form = new AttackForm(form, engine, catalog, this.choice);
    this.curve = new LossCurve(find(root, "[data-curve]"));
    this.at = places(root, ["slots", "loss", "tokens", "cards", "verdict", "unfinished"]);
    this.pauseButton = find<HTMLButtonElement>(root, "[data-pause]");
    this.choice.submit(() => void this.live());
    find<HTMLButtonElement>(root, "[data-resume]").onclick = () => {
      if (!this.panel.busy) void this.go(engine.start("resume", null, (news) => this.hear(news)));
    };
    find<HTMLButtonElement>(root, "[data-discard]").onclick = () =>
      void engine.call("discard", null).then(() => (this.at.unfinished.hidden = true));
  }

  /** Starts what the form says, once the bundled files are there that it names; at first that is the demo. */
  async live(): Promise<void> {
    find(this.root, "[data-status]").focus();
    await this.form.prepare();
    this.begin();
  }

  /**
   * Attacks other weights: at once where the form's prompt names the concept, else after the visitor has chosen a target and a label of it.
   */
  async attackErased(choice: Choice, concept: string): Promise<void> {
    if (this.panel.busy) return;
    this.choice.choose(choice);
    await this.form.prepare();
    if (this.form.names(concept)) this.begin();
    else this.panel.status(`Choose a picture of ${concept} as the target and the judge's label for it, then start.`);
  }

  private begin(): void {
    if (this.panel.busy) return;
    try {
      void this.go(this.engine.start("attack", this.form.request(), (news) => this.hear(news)));
    } catch (error) {
      this.panel.fail(error);
    }
  }

  /** Offers to go on with an attack that was cut off. */
  async offerUnfinished(): Promise<void> {
    if (this.panel.busy) return;
    const found = await this.engine.call("unfinished", null);
    this.at.unfinished.hidden = found === null;
    if (!found) return;
    const when = new Date(found.started).toLocaleString();
    find(this.at.unfinished, "[data-unfinished-text]").replaceChildren(
      "An attack with the prompt ",
      promptText(found.settings.prompt),
      ` was begun ${when} and cut off after ${found.iteration} iterations and ${found.evaluations} judged pictures. Its log is kept in ` +
        "this browser.",
      ...(found.missing === "" ? [] : [` Before it can go on, drop again under Models: ${found.missing}.`]),
    );
    find<HTMLButtonElement>(this.root, "[data-resume]").disabled = found.missing !== "";
  }

  private async go(work: Running<AttackResult>): Promise<void> {
    this.at.unfinished.hidden = true;
    this.at.verdict.replaceChildren();
    [this.target, this.drawn] = [undefined, []];
    find(this.root, "[data-status]").focus();
    find(this.root, "[data-files]").hidden = true;
    this.at.cards.replaceChildren(el("li", { class: "hint" }, "None so far."));
    this.at.slots.replaceChildren(el("li", { class: "hint" }, "Shown once the search has begun."));
    this.curve.start(1);
    this.done = 0;
    this.at.loss.hidden = this.at.tokens.hidden = false;
    this.pauseButton.disabled = false;
    this.setPaused(work, false);
    this.pauseButton.onclick = () => this.setPaused(work, !this.paused);
    const away = find(this.root, "[data-away]");
    away.textContent = "";
    const stop = watchHidden(
      (seconds) =>
        (away.textContent =
          `The tab was in the background for ${formatDuration(seconds)} in all; the search went on, perhaps more slowly.`),
    );
    const result = await this.panel.runLong(this.form.form, work, "Cancelled. What was judged is kept, and the attack can be resumed.");
    stop();
    this.pauseButton.disabled = true;
    this.setPaused(undefined, false);
    if (result) this.showVerdict(result);
    else await this.offerUnfinished();
  }

  private setPaused(work: Running<AttackResult> | undefined, on: boolean): void {
    this.paused = on;
    work?.pause(on);
    this.pauseButton.textContent = on ? "Resume" : "Pause";
    if (on) this.panel.status("Paused after the work under way.", this.done / this.total);
  }

  private hear(news: AttackNews): void {
    switch (news.type) {
      case "phase":
        return this.panel.status(news.text);
      case "start":
        this.total = Math.max(1, news.totalIterations);
        this.label = news.label;
        this.done = 0;
        this.curve.start(news.totalIterations);
        this.at.tokens.hidden = !usesGradient(news.settings.attacker) || !insertsTokens(news.settings.attacker);
        return this.panel.status(
          news.resumed ? `going on after iteration ${news.iteration}` : "drawing the original prompt",
          news.iteration / this.total,
        );
      case "target":
        this.target = { title: this.choice.harmless ? "Before" : "Target", label: "", picture: news.picture.file, prompt: "" };
        return;
      case "losses":
        this.done += news.losses.length;
        this.curve.add(news.timestep, news.losses);
        document.title = `${Math.round((100 * this.done) / this.total)} % Lethe`;
        if (!this.paused) {
          this.panel.status(`searching: iteration ${this.done} of ${this.total}, timestep ${news.timestep}`, this.done / this.total);
        }
        return;
      case "sampling":
        if (!this.paused) this.panel.status(`drawing a picture to be judged: step ${news.step} of ${news.steps}`, this.done / this.total);
        return;
      case "slots":
        return this.showSlots(news.slots);
      case "evaluation":
        return this.addCard(news);
      case "files":
        return this.offerFiles(news);
    }
  }

  private showSlots(slots: readonly Slot[]): void {
    if (slots.length === 0) return;
    this.at.slots.replaceChildren(...slots.map((slot) => el("li", {}, ...slot.map(({ piece, share }) => {
      const line = el("p", {}, promptText(piece), el("span", {}, `${(100 * share).toFixed(share < 0.1 ? 2 : 0)} %`));
      line.style.setProperty("--share", `${100 * share}%`);
      return line;
    }))));
  }

  private addCard({ evaluation, picture }: Extract<AttackNews, { type: "evaluation" }>): void {
    const { judgement, prompt, timestep, iteration, unchanged, control, probe } = evaluation;
    if (picture && control === undefined) {
      const title = timestep < 0 ? "\u201cForgotten\u201d" : judgement.success ? RECOVERED : "The last try";
      this.drawn.push({ title, label: judgement.label, picture: picture.file, prompt });
    }
    const frame = el("div", { class: "picture" });
    if (picture) showPicture(frame, picture, `Picture after ${iteration} iterations, judged ${judgement.label}`, this.form.blurred);
    else frame.append(el("p", { class: "hint" }, "Not drawn: the gate stopped it."));
    const tried = probe && `${control === undefined ? "probe" : `control ${control}`}: ${settingsText(probe)}`;
    const when = timestep < 0 ? "original prompt" : (tried ?? `iteration ${iteration}, t=${timestep}${unchanged ? ", same prompt" : ""}`);
    const { success: hit, label: title, score } = judgement;
    addCard(this.at.cards, frame, { hit, title, prompt, when: `${when}; ${this.label}: ${score.toFixed(4)}` });
  }

  private offerFiles({ report, log, record, learned }: Extract<AttackNews, { type: "files" }>): void {
    offer(find<HTMLAnchorElement>(this.root, "[data-report]"), report, "report.html");
    offer(find<HTMLAnchorElement>(this.root, "[data-log]"), log, "attack.jsonl");
    offer(find<HTMLAnchorElement>(this.root, "[data-record]"), record, "run.json");
    const word = find<HTMLAnchorElement>(this.root, "[data-learned]");
    word.hidden = learned === null;
    if (learned) offer(word, learned, "learned_embeds.safetensors");
    find(this.root, "[data-files]").hidden = false;
  }

  private showVerdict(result: AttackResult): void {
    const { success, preSuccess, adversarialPrompt, iterations, seconds, score, prompt, probe } = result;
    const headline = probe
      ? `The probe ${success ? "drew" : "did not draw"} ${this.label}`
      : success ? `The model did not forget ${this.label}` : `${this.label} was not brought back`;
    const text = preSuccess
      ? ["No search was needed: the plain prompt draws it."]
      : probe
        ? [probeText(probe)]
        : success
          ? [
            `After ${iterations} iterations, with `,
            promptText(adversarialPrompt),
            `, the judge sees it again (score ${score.toFixed(3)}).`,
          ]
          : [
            `${iterations} iterations found no prompt. That says something about this search and its budget; it does not prove forgetting.`,
          ];
    const title = el("h2", { tabindex: "-1" }, headline);
    const box = el("div", { class: `notice ${success ? "found" : "not-found"}` }, title, el("p", {}, ...text));
    // A probe goes on after a success: what it brought back is shown, not its last try.
    const [first, last] = [this.drawn[0], this.drawn.slice(1).find((drawn) => drawn.title === RECOVERED) ?? this.drawn.at(-1)];
    this.at.loss.hidden = this.done === 0;
    const panels = [this.target, first, last === first ? undefined : last].filter((panel) => panel !== undefined);
    const verdict: Verdict = { headline, success, plain: prompt, panels };
    const share = shareButton(verdict, () => this.form.blurred, (error) => this.panel.fail(error));
    this.at.verdict.replaceChildren(box, triptych(verdict, this.form.blurred), el("p", { class: "actions" }, share));
    this.panel.status(`Done in ${formatDuration(seconds)}.`);
    title.focus();
  }
}

/** "eta 1.17, varianceScale 1" */
function settingsText(probe: Readonly<Record<string, number | string>>): string {
  const text = (value: number | string): string => (typeof value === "number" ? String(Number(value.toPrecision(4))) : value);
  return Object.entries(probe).map(([name, value]) => `${name} ${text(value)}`).join(", ");
}

/** A probe beside its controls. One prompt decides nothing. */
function probeText({ tries, successes, comparisons, missing }: ProbeResult): string {
  const measures = { success: "", successes: " of its tries", psnr: " dB", likelihood: " deviations" } as const;
  const number = (x: number, measure: keyof typeof measures): string =>
    measure === "success" ? (x > 0 ? "yes" : "no") : `${Number(x.toPrecision(3))}${measures[measure]}`;
  const against = comparisons.map(
    ({ control, measure, probe, other }) => `${control}: ${number(other, measure)} (probe: ${number(probe, measure)})`,
  );
  return `${successes} of ${tries} tries ${successes === 1 ? "is" : "are"} judged so. Controls: ${against.join("; ") || "none"}. ` +
    `${missing.length > 0 ? `Not made: ${missing.join(", ")}. ` : ""}One prompt gives no verdict: evaluate compares several.`;
}
