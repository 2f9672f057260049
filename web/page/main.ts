/** The page: starts the Worker, the tabs, and what they share. */
import { AttackTab } from "./attack.ts";
import { Catalog } from "./catalog.ts";
import { startClassify } from "./classify.ts";
import { el, find } from "./parts/dom.ts";
import { Engine } from "./engine.ts";
import { EraseTab } from "./erase.ts";
import { startGenerate } from "./generate.ts";
import { KernelsTab } from "./kernels.ts";
import { ModelsTab } from "./models.ts";
import { problemBox } from "./parts/problems.ts";
import { startTabs } from "./parts/tabs.ts";
import { startQuality } from "./quality.ts";
import { Story } from "./story.ts";

const notices = find(document, "#notices");
const panel = (id: string): HTMLElement => find(document, `#${id}`);
const engine = new Engine();
const catalog = new Catalog(engine);
const generate = startGenerate(panel("generate"), engine, catalog);
const attack = new AttackTab(panel("attack"), engine, catalog);
const classify = startClassify(panel("classify"), engine, catalog);
const erase = new EraseTab(panel("erase"), engine, catalog, (choice, concept) => {
  showTab("attack");
  void attack.attackErased(choice, concept).catch(complain);
});
startQuality(panel("quality"), engine, catalog);
const kernels = new KernelsTab(panel("kernels"), engine);
const models = new ModelsTab(panel("models"), engine, catalog);
const story = new Story(panel("story"), () => {
  showTab("attack");
  void attack.live();
});
let ready = false;
/** Without one nothing computes: it is said once, and no tab says it again. */
let hasDevice = false;

/** What a tab needs is fetched when it is first looked at. */
async function shown(name: string): Promise<void> {
  if (!ready) return;
  if (!hasDevice && name !== "models") return;
  if (name === "generate") await generate.estimate();
  if (name === "attack") await Promise.all([attack.choice.estimate(), attack.form.prepare(), attack.form.listLabels()]);
  if (name === "classify") await classify.estimate();
  if (name === "erase") await erase.choice.estimate();
  if (name === "kernels") await kernels.showDevice();
  if (name === "models") await Promise.all([catalog.refresh(), models.showStorage()]);
}

function complain(error: unknown): void {
  notices.replaceChildren(problemBox(error));
}

const showTab = startTabs(find(document, "[role=tablist]"), (name) => void shown(name).catch(complain));

engine.onLost = (message) => {
  const button = el("button", { type: "button" }, "Open it again");
  button.onclick = () => void openDevice();
  const box = problemBox(Object.assign(new Error(message), { name: "DeviceLostError" }));
  box.append(el("p", { class: "actions" }, button));
  notices.replaceChildren(box);
  find(document, "#device").textContent = "the GPU was lost";
  generate.reset();
  attack.choice.reset();
  classify.reset();
  erase.choice.reset();
  void attack.offerUnfinished().catch(complain);
};

async function openDevice(): Promise<void> {
  const line = find(document, "#device");
  hasDevice = false;
  try {
    const { description, software } = await engine.call("device", null);
    line.textContent = `${description}${software ? " (slow: no GPU is used)" : ""}`;
    notices.replaceChildren();
    hasDevice = true;
    story.allowLive(software ? "On this machine without a GPU it takes about a minute." : "It takes half a minute or less.");
  } catch (error) {
    story.refuseLive();
    // The box that `complain` shows says why: once is enough.
    line.textContent = "";
    complain(error);
  }
}

async function begin(): Promise<void> {
  await openDevice();
  await catalog.refresh();
  ready = true;
  await attack.offerUnfinished();
  await shown(find(document, "[role=tabpanel]:not([hidden])").id);
}

// A file dropped beside its place must not make the browser leave the page.
for (const type of ["dragover", "drop"] as const) window.addEventListener(type, (event) => event.preventDefault());
begin().catch(complain);
