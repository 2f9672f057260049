import type { Entry } from "../protocol.ts";
import type { Catalog } from "./catalog.ts";
import { el, field, find, table } from "./parts/dom.ts";
import { acceptDrops, pathsOf } from "./parts/drop.ts";
import type { Engine } from "./engine.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";

const KINDS: Readonly<Record<Entry["kind"], string>> = {
  model: "model",
  overlay: "weights",
  classifier: "judge",
  clip: "judge",
  detector: "judge",
  prompts: "judge's prompts",
  unfinished: "unfinished",
};

/** The Models tab: what can be loaded, what is kept, and how more comes in. */
export class ModelsTab {
  private readonly panel: Panel;

  constructor(private readonly root: HTMLElement, private readonly engine: Engine, private readonly catalog: Catalog) {
    this.panel = new Panel(root);
    acceptDrops(find(root, "[data-drop]"), (files) => void this.take(files));
    for (const input of root.querySelectorAll<HTMLInputElement>("[data-pick]")) {
      input.onchange = () => {
        if (input.files?.length) void this.take(pathsOf(input.files));
        input.value = "";
      };
    }
    const form = find<HTMLFormElement>(root, "form");
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!this.panel.busy) void this.download({ url: field(form, "url").value.trim(), sha256: field(form, "sha256").value.trim() });
    };
    catalog.onChange(() => this.list());
  }

  /** How much this page keeps. */
  async showStorage(): Promise<void> {
    const { used, quota, persistent, opfs } = await this.engine.call("storage", null);
    find(this.root, "[data-storage]").textContent = opfs
      ? (`This page keeps ${formatBytes(used)} in this browser, of ${formatBytes(quota)} that it ` +
        `may${persistent ? "; the browser will not delete it on its own" : "; when the disk runs full, the browser may delete it"}.`)
      : "This browser gives the page no place to keep files (a private window?): what is loaded is gone when the page is closed.";
  }

  private async take(files: Readonly<Record<string, File>>): Promise<void> {
    if (this.panel.busy) return;
    this.panel.status("looking at what was dropped ...");
    const entries = await this.panel.run(this.engine.start("drop", { files }));
    if (!entries) return;
    await this.catalog.refresh();
    this.panel.status(`${entries.map((e) => `${e.name}: ${e.detail}`).join("; ")}. Choose it under Generate or Attack.`);
  }

  private async download(args: { readonly url: string; readonly sha256: string }): Promise<void> {
    await navigator.storage?.persist?.(); // asks the browser not to throw away what took so long to fetch
    this.panel.status("asking the server ...");
    const entry = await this.panel.run(
      this.engine.start("download", args, ({ text, done }) => this.panel.status(text, done)),
      "Cancelled; what has come is kept and can be gone on with.",
    );
    await this.afterChange(entry && `${entry.name} is here: ${entry.detail}`);
  }

  private async afterChange(text: string | undefined): Promise<void> {
    await this.catalog.refresh();
    await this.showStorage();
    if (text) this.panel.status(text);
  }

  private list(): void {
    const made = table("Models", ["name", "kind", "size", "where", "what to do with it"], new Set([2]));
    for (const entry of this.catalog.entries) {
      const where = {
        bundled: entry.keptBytes > 0 ? `bundled; ${formatBytes(entry.keptBytes)} kept here` : "bundled",
        stored: "kept in this browser",
        dropped: "dropped, until the page is closed",
      }[entry.origin];
      const size = entry.download
        ? `${formatBytes(entry.keptBytes)}${entry.bytes > 0 ? ` of ${formatBytes(entry.bytes)}` : ""}`
        : formatBytes(entry.bytes);
      made.add([el("span", {}, entry.name, el("small", {}, entry.detail)), KINDS[entry.kind], size, where, this.buttons(entry)]);
    }
    find(this.root, "[data-list]").replaceChildren(made.element);
  }

  private buttons(entry: Entry): HTMLElement {
    const button = (text: string, work: () => Promise<void>): HTMLButtonElement => {
      const made = el("button", { type: "button", "aria-label": `${text} ${entry.name}` }, text);
      made.onclick = () => {
        if (!this.panel.busy) void work();
      };
      return made;
    };
    const kept = entry.origin === "stored" || entry.keptBytes > 0;
    const { download } = entry;
    return el(
      "span",
      { class: "actions" },
      download
        ? button("Go on", () => this.download(download))
        : button("Check", async () => {
            const text = await this.panel.run(this.engine.start("check", { id: entry.id }, (p) => this.panel.status(p.text, p.done)));
            await this.afterChange(text && `${entry.name}: ${text}`);
          }),
      ...(entry.origin === "dropped"
        ? [
            button("Keep", async () => {
              const stored = await this.panel.run(this.engine.start("keep", { id: entry.id }, (p) => this.panel.status(p.text, p.done)));
              await this.afterChange(stored && `${stored.name} is kept in this browser`);
            }),
          ]
        : []),
      ...(kept || entry.origin === "dropped"
        ? [
            button(entry.origin === "dropped" ? "Remove" : "Delete", async () => {
              await this.panel.run(this.engine.start("remove", { id: entry.id }));
              await this.afterChange(
                `${entry.name}: ` +
                  (entry.origin === "bundled" ? "its kept files are deleted; it will be fetched again when it is used" : "gone"),
              );
            }),
          ]
        : []),
    );
  }
}
