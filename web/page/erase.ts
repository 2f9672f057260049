import type { Choice, EraseNews, EraseRequest, Erased } from "../protocol.ts";
import { type Catalog, ChoiceFields } from "./catalog.ts";
import { LossCurve } from "./parts/curve.ts";
import { el, field, find, numberOf, offer, promptText } from "./parts/dom.ts";
import type { Engine } from "./engine.ts";
import { formatDuration } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";
import { addCard, showPicture } from "./parts/picture.ts";

/** The Erase tab. */
export class EraseTab {
  readonly choice: ChoiceFields;
  private readonly form: HTMLFormElement;
  private readonly panel: Panel;
  private readonly curve: LossCurve;
  private readonly cards: HTMLElement;
  private readonly verdict: HTMLElement;

  /** @param attack goes to the Attack tab with the erased model, and begins */
  constructor(
    private readonly root: HTMLElement,
    private readonly engine: Engine,
    private readonly catalog: Catalog,
    private readonly attack: (choice: Choice, concept: string) => void,
  ) {
    this.form = find<HTMLFormElement>(root, "form");
    this.panel = new Panel(root);
    this.choice = new ChoiceFields(this.form, engine, catalog, "", "attackBytes");
    this.curve = new LossCurve(find(root, "[data-curve]"));
    this.cards = find(root, "[data-cards]");
    this.verdict = find(root, "[data-verdict]");
    const method = field<HTMLSelectElement>(this.form, "method");
    method.onchange = () => (find<HTMLElement>(this.form, "[data-training]").hidden = method.value === "uce");
    this.choice.submit(() => {
      if (!this.panel.busy) void this.erase(this.request());
    });
  }

  private request(): EraseRequest {
    const { form } = this;
    const lines = field<HTMLTextAreaElement>(form, "retain").value.split("\n").map((line) => line.trim());
    return {
      choice: this.choice.value,
      method: field<HTMLSelectElement>(form, "method").value === "uce" ? "uce" : "esd-x",
      concept: field(form, "concept").value.trim(),
      retain: lines.filter((line) => line !== ""),
      steps: numberOf(form, "steps"),
      learningRate: numberOf(form, "learningRate"),
    };
  }

  private async erase(request: EraseRequest): Promise<void> {
    this.verdict.replaceChildren();
    this.cards.replaceChildren(el("li", { class: "hint" }, "None so far."));
    this.curve.start(request.steps);
    find(this.root, "[data-loss]").hidden = request.method === "uce"; // solved for at once
    const work = this.engine.start("erase", request, (news) => this.hear(news));
    const erased = await this.panel.runLong(this.form, work, "Cancelled. Nothing was erased.");
    if (!erased) return;
    await this.catalog.refresh();
    this.show(request, erased);
  }

  private hear(news: EraseNews): void {
    switch (news.type) {
      case "phase":
        return this.panel.status(news.text);
      case "step":
        this.curve.add(0, [news.loss]);
        return this.panel.status(`step ${news.step} of ${news.steps}, loss ${news.loss.toFixed(4)}`, news.step / news.steps);
      case "preview": {
        const frame = el("div", { class: "picture" });
        const { prompt, erased, step } = news;
        const when = step === 0 ? "before" : `after step ${step}`;
        showPicture(frame, news.picture, `Picture drawn for: ${prompt}, ${when}`, !this.choice.harmless);
        addCard(this.cards, frame, { hit: erased, title: erased ? "erased" : "retained", prompt, when });
      }
    }
  }

  private show({ choice, concept }: EraseRequest, { entry, file, report, seconds, steps }: Erased): void {
    this.panel.status(`Done: ${steps} ${steps === 1 ? "step" : "steps"} in ${formatDuration(seconds)}.`);
    const attack = el("button", { type: "button", class: "primary", "data-attack": "" }, "Attack it");
    attack.onclick = () => this.attack({ ...choice, overlay: entry.id }, concept);
    const [weights, page] = [el("a", { class: "button" }, "Download weights"), el("a", { class: "button" }, "Download report")];
    offer(weights, file, entry.name);
    offer(page, report, "report.html");
    this.verdict.replaceChildren(
      el(
        "div",
        { class: "notice", role: "status" },
        el("h2", {}, "Erased. Forgotten?"),
        el("p", {}, "The new weights can be chosen under Generate and Attack until this page is closed. Whether ", promptText(concept),
          " is gone is for an attack to say."),
        el("p", { class: "actions" }, attack, weights, page),
      ),
    );
  }
}
