import { isProbe } from "../../attack/attackers.ts";
import { CONTROLS } from "../../attack/probes/controls.ts";
import type { LoggedEvaluation } from "../log.ts";
import type { ReportData } from "./data.ts";
import { decimal, escape, table } from "./html.ts";
import { picture, thumbnail } from "./picture.ts";

/** Longest side of the pictures. */
const SIDE = 112;
/** Settings that a curve can be drawn over. */
const AXES = ["strength", "baseSteps", "trainingSteps", "eta", "scale"] as const;
/** Marks of the curve's lines, so that they are told apart without colours. */
const DASHES = ["", "6 3", "2 3", "8 3 2 3"] as const;

/** The tries of a probe and of each control. */
interface Group {
  readonly name: string;
  readonly is: string;
  readonly tries: readonly LoggedEvaluation[];
}

/** A probe's tries beside those of its controls, and the judge's score over what was varied. Empty for other attackers. */
export function probeSection({ record, evaluations, pictures, extras }: ReportData): string {
  const { attacker, label } = record.settings;
  if (!isProbe(attacker)) return "";
  const of = (control: string | undefined): LoggedEvaluation[] => evaluations.filter((e) => e.timestep >= 0 && e.control === control);
  const groups: Group[] = [
    { name: attacker, is: "the probe", tries: of(undefined) },
    ...CONTROLS[attacker].map(({ name, is }) => ({ name: `control ${name}`, is, tries: of(name) })),
  ];
  const rows = groups.map(({ name, is, tries }) => {
    const shown = tries.map((e) => {
      const image = pictures.get(e.image ?? "");
      const drawn = image
        ? picture(thumbnail(image, SIDE), { alt: `${name}, judged ${e.judgement.label}`, blurred: !extras.showImages })
        : `<span class="none">no picture</span>`;
      return `<figure class="${e.judgement.success ? "hit" : ""}">${drawn}<figcaption><span>judged <b>${escape(e.judgement.label)}</b>, ` +
        `${decimal(e.judgement.score, 3)}</span><span>${escape(settingsOf(e))}</span></figcaption></figure>`;
    });
    const body =
      shown.length > 0 ? `<div class="tries">${shown.join("\n")}</div>` : "<p>Not made: the run was not given what it needs.</p>";
    return `<h3>${escape(name)}</h3><p>${escape(is)}: ${tries.filter((e) => e.judgement.success).length} of ${tries.length}.</p>${body}`;
  });
  return `<section aria-labelledby="probe"><h2 id="probe">The probe and its controls</h2>` +
    `${curve(groups, label ?? "the concept")}${figures(groups)}${rows.join("\n")}</section>`;
}

function settingsOf({ probe = {} }: LoggedEvaluation): string {
  return Object.entries(probe).map(([name, v]) => `${words(name)} ${typeof v === "number" ? Number(v.toPrecision(4)) : v}`).join(", ");
}

/** What was measured of the tries, where anything was: nll, PSNR. */
function figures(groups: readonly Group[]): string {
  const names = ["nll", "deviation", "psnr", "vaePsnr", "residualRatio"].filter((n) =>
    groups.some((g) => g.tries.some((e) => e.probe?.[n] !== undefined)),
  );
  if (names.length === 0) return "";
  const rows = groups.flatMap(({ name, tries }) =>
    tries.map((e) => [escape(name), ...names.map((n) => (typeof e.probe?.[n] === "number" ? decimal(e.probe[n], 3) : ""))]),
  );
  return (
    `<p>nll: minus the log-likelihood of the start latents; deviation: from that of true noise, in its standard deviations, either way ` +
    "abnormal; psnr: of the picture drawn again, in dB, beside that of the VAE " +
    `alone.</p>${table("What was measured", ["tries", ...names], rows)}`
  );
}

/** The judge's score over the setting that the tries differ in; empty where they differ in none. */
function curve(groups: readonly Group[], concept: string): string {
  const points = (g: Group, axis: string): { x: number; y: number }[] =>
    g.tries
      .flatMap((e) => (typeof e.probe?.[axis] === "number" ? [{ x: e.probe[axis], y: e.judgement.score }] : []))
      .toSorted((a, b) => a.x - b.x);
  const axis = AXES.find((a) => new Set(groups.flatMap((g) => points(g, a).map((p) => p.x))).size > 1);
  if (axis === undefined) return "";
  const all = groups.flatMap((g) => points(g, axis).map((p) => p.x));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const place = ({ x, y }: { x: number; y: number }): string =>
    `${(40 + (540 * (x - low)) / (high - low)).toFixed(1)},${(170 - 150 * y).toFixed(1)}`;
  const lines = groups.flatMap((g, i) => {
    const list = points(g, axis);
    if (list.length === 0) return [];
    const marks = list
      .map((p) => `<circle cx="${place(p).split(",")[0]}" cy="${place(p).split(",")[1]}" r="3.5" fill="currentColor"/>`)
      .join("");
    return [
      `<g class="line-${i}"><polyline points="${list.map(place).join(" ")}" fill="none" stroke="currentColor" stroke-width="2" ` +
        `stroke-dasharray="${DASHES[i % DASHES.length]}"/>${marks}</g>`,
    ];
  });
  const legend = groups.map((g, i) => `<span class="line-${i}">${escape(g.name)}</span>`).join(" ");
  return `<p>The judge's score of ${escape(concept)} over ${escape(words(axis))}, from ${low} to ${high}.</p>` +
    `<p class="legend">${legend}</p>` +
    `<svg class="curve probe-curve" viewBox="0 0 600 200" role="img" aria-label="${escape(`Score of ${concept} over ${words(axis)}`)}">` +
    `<path d="M40 20V170H580" fill="none" stroke="currentColor" opacity=".3"/><text x="8" y="26">1</text><text x="8" y="174">0</text>` +
    `<text x="40" y="192">${low}</text><text x="560" y="192">${high}</text>${lines.join("")}</svg>`;
}

/** `trainingSteps` as "training steps". */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
