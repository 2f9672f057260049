import type { Choice, Entry } from "../protocol.ts";
import { field, find, setOptions } from "./parts/dom.ts";
import type { Engine } from "./engine.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { isCancelled } from "./parts/problems.ts";

/** What helps where f16 weights are not enough, and a page cannot do. */
const OFFLOAD = "The command line can keep in host memory what does not fit: --offload.";

/** The list of what can be loaded, and everything that shows it. */
export class Catalog {
  entries: readonly Entry[] = [];
  private readonly listeners: (() => void)[] = [];
  /** Settles once the list has been read: until then no form knows what it is to begin with. */
  readonly loaded: Promise<void>;

  constructor(private readonly engine: Engine) {
    this.loaded = new Promise((settle) => this.onChange(() => this.entries.length > 0 && settle()));
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
    listener();
  }

  async refresh(): Promise<void> {
    this.entries = await this.engine.call("entries", null);
    for (const listener of this.listeners) listener();
  }

  find(id: string | null): Entry | undefined {
    return this.entries.find((e) => e.id === id);
  }

  options(kind: Entry["kind"]): (readonly [string, string])[] {
    return this.entries
      .filter((e) => e.kind === kind)
      .map((e) => [
        e.id,
        e.origin === "bundled" && kind === "model" ? `${e.name} (bundled)` : `${e.name}${e.origin === "dropped" ? " (dropped)" : ""}`,
      ]);
  }
}

/** Keeps a form's choice of model and overlay, and the line that says what it will take. @param overlay what is chosen at first */
export class ChoiceFields {
  private readonly model: HTMLSelectElement;
  private readonly overlay: HTMLSelectElement;
  private readonly weights: HTMLSelectElement;
  private readonly need: HTMLElement;
  private asked = "";
  private first = true;

  constructor(
    private readonly form: HTMLFormElement,
    private readonly engine: Engine,
    private readonly catalog: Catalog,
    overlay: string,
    private readonly use: "drawBytes" | "attackBytes",
  ) {
    this.model = field<HTMLSelectElement>(form, "model");
    this.overlay = field<HTMLSelectElement>(form, "overlay");
    this.weights = field<HTMLSelectElement>(form, "weights");
    this.need = find(form, "[data-need]");
    setOptions(this.weights, [["f32", "float32"], ["f16", "float16 (half the memory)"]]);
    catalog.onChange(() => {
      setOptions(this.model, catalog.options("model"));
      setOptions(this.overlay, [["", "none"], ...catalog.options("overlay")], this.first ? overlay : this.overlay.value);
      this.first = catalog.entries.length === 0;
    });
    for (const select of [this.model, this.overlay, this.weights]) select.addEventListener("change", () => void this.estimate());
  }

  get value(): Choice {
    return { model: this.model.value, overlay: this.overlay.value || null, weights: this.weights.value === "f16" ? "f16" : "f32" };
  }

  /** Names as the command line has them; dropped files by their own names. */
  get names(): { readonly model: string; readonly overlay: string | null; readonly part: Entry["part"] } {
    const { model, overlay } = this.value;
    const name = (id: string): string => {
      const entry = this.catalog.find(id);
      return entry && entry.origin !== "bundled" ? entry.name : id;
    };
    return { model: name(model), overlay: overlay === null ? null : name(overlay), part: this.catalog.find(overlay)?.part ?? "unet" };
  }

  /** Whether pictures of this model may be shown at once: those of the bundled one are emoji. */
  get harmless(): boolean {
    return this.value.model === "emoji";
  }

  choose(choice: Choice): void {
    this.model.value = choice.model;
    this.overlay.value = choice.overlay ?? "";
    this.weights.value = choice.weights;
  }

  /** Says what the chosen model takes, before any of its weights are loaded. */
  async estimate(): Promise<void> {
    const choice = this.value;
    const key = JSON.stringify(choice);
    if (choice.model === "" || key === this.asked) return;
    this.asked = key;
    this.say("reading the model's files ...");
    try {
      const need = await this.engine.call("need", choice);
      if (key !== this.asked) return;
      if (need.refusal !== "") return this.say(`This device cannot run it: ${need.refusal}`, true);
      const memory = (navigator as { readonly deviceMemory?: number }).deviceMemory;
      const bytes = need[this.use];
      const tight = memory !== undefined && bytes > 0.6 * memory * 2 ** 30;
      const [width, height] = need.imageSize;
      const halved = choice.weights === "f32" ? "Store its weights as float16, which takes about half of them. " : "";
      this.say(
        `${width}x${height} pixels; takes about ${formatBytes(bytes)} of device memory (weights ` +
          `${formatBytes(need.weightBytes)}).` +
          `${tight ? ` This machine has about ${memory} GiB of memory in all: it may not be enough. ${halved}${OFFLOAD}` : ""}`,
        tight,
      );
    } catch (error) {
      if (key === this.asked) this.asked = "";
      if (!isCancelled(error)) this.say(error instanceof Error ? error.message : String(error), true);
    }
  }

  private say(text: string, bad = false): void {
    this.need.textContent = text;
    this.need.classList.toggle("bad", bad);
  }

  reset(): void {
    this.asked = "";
  }

  onModel(listener: () => void): void {
    this.model.addEventListener("change", listener);
  }

  /** Begins with what the form says, once there is something to choose from. */
  submit(listener: () => void): void {
    this.form.onsubmit = (event) => {
      event.preventDefault();
      void this.catalog.loaded.then(listener);
    };
  }
}
