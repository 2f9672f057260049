import type { QualityRequest, Scores } from "../protocol.ts";
import type { Catalog } from "./catalog.ts";
import { el, field, find, setOptions, table } from "./parts/dom.ts";
import type { Engine } from "./engine.ts";
import { NO_FID, kernelName } from "../../engine/run/leaderboard/quality.ts";
import { formatDuration } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";

/** The Quality tab: pictures of two small folders compared. */
export function startQuality(root: HTMLElement, engine: Engine, catalog: Catalog): void {
  const form = find<HTMLFormElement>(root, "form");
  const panel = new Panel(root);
  const network = field<HTMLSelectElement>(form, "network");
  const compared = field<HTMLSelectElement>(form, "compared");
  const [weights, real] = [find<HTMLElement>(form, "[data-inception]"), find<HTMLElement>(form, "[data-real]")];
  const fit = (): void => {
    weights.hidden = network.selectedOptions.length === 0 || network.value !== "";
    real.hidden = compared.value === "bundled";
    field(form, "weights").required = !weights.hidden;
    field(form, "real").required = !real.hidden;
  };
  for (const select of [network, compared]) select.addEventListener("change", fit);
  catalog.onChange(() => {
    const classifiers = catalog.options("classifier");
    if (classifiers.length === 0) return; // the list is not there yet
    const chosen = network.options.length > 0 ? network.value : classifiers[0]![0];
    setOptions(network, [...classifiers, ["", "Inception v3, from a file of yours"]], chosen);
    fit();
  });
  const files = (name: string): { name: string; file: Blob }[] =>
    [...(field(form, name).files ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void catalog.loaded.then(() => (panel.busy ? undefined : run()));
  });
  const request = (): QualityRequest => {
    const [file] = files("weights");
    return {
      images: files("images"),
      real: compared.value === "bundled" ? "bundled" : files("real"),
      network: network.value === "" ? file! : { classifier: network.value },
      recipe: field<HTMLSelectElement>(form, "recipe").value,
    };
  };
  const run = async (): Promise<void> => {
    find(root, "[data-result]").replaceChildren();
    const scores = await panel.run(engine.start("quality", request(), ({ text, done }) => panel.status(text, done)));
    if (!scores) return;
    find(root, "[data-result]").replaceChildren(...shown(scores));
    panel.status(`Done in ${formatDuration(scores.seconds)}.`);
  };
}

function shown({ distanceName, features, distances, count, realCount }: Scores): HTMLElement[] {
  const { frechet, interval, reference, kid, warnings } = distances;
  const digits = (x: number): string => Number(x.toPrecision(6)).toString();
  const made = table("Scores", ["score", "value", "how sure"], new Set([1]));
  made.add([distanceName, digits(frechet), interval ? `95%: ${interval.map(digits).join(" to ")}` : "no interval: it would take long"]);
  if (reference) made.add([`by the reference's code (${reference.branch})`, digits(reference.value), ""]);
  if (kid) made.add([kernelName(distanceName), digits(kid.mean), `± ${digits(kid.std)} over ${kid.subsets} subsets of ${kid.size}`]);
  const said = `Features: ${features}. ${count} pictures against ${realCount} real ones; lower is closer.` +
    (distanceName === "FID" ? "" : ` ${NO_FID}`);
  return [made.element, el("p", { class: "hint" }, said), ...warnings.map((text) => el("p", { class: "notice" }, text))];
}
