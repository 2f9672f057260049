/** The live loss curve: every iteration as a thin line, the mean at each timestep as a thick one. */

const WIDTH = 600;
const HEIGHT = 160;
const SVG = "http://www.w3.org/2000/svg";

function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>> = {},
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

interface Band {
  readonly timestep: number;
  readonly start: number;
  count: number;
  sum: number;
}

export class LossCurve {
  private losses: number[] = [];
  private bands: Band[] = [];
  private total = 1;
  private frame = 0;
  private readonly picture = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": "Loss curve, empty",
  });
  private readonly marks = svg("g");
  private readonly line = svg("polyline", { class: "loss" });
  private readonly note = document.createElement("p");

  constructor(place: HTMLElement) {
    this.picture.append(this.marks, this.line);
    place.replaceChildren(this.picture, this.note);
    this.note.textContent = "no iterations yet";
  }

  /** @param total iterations expected in all */
  start(total: number): void {
    Object.assign(this, { losses: [], bands: [], total: Math.max(1, total) });
    this.draw();
  }

  add(timestep: number, losses: readonly number[]): void {
    for (const loss of losses) {
      let band = this.bands.at(-1);
      if (band?.timestep !== timestep) this.bands.push((band = { timestep, start: this.losses.length, count: 0, sum: 0 }));
      band.count++;
      band.sum += loss;
      this.losses.push(loss);
    }
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frame = 0;
    const { losses, bands } = this;
    const last = losses.at(-1);
    if (last === undefined) {
      this.line.setAttribute("points", "");
      this.marks.replaceChildren();
      this.note.textContent = "no iterations yet";
      return;
    }
    const high = losses.reduce((a, b) => Math.max(a, b), 1e-6) * 1.05;
    const span = Math.max(this.total, losses.length);
    const x = (i: number): string => ((WIDTH * i) / span).toFixed(1);
    const y = (loss: number): string => (HEIGHT - (HEIGHT * loss) / high).toFixed(1);
    this.line.setAttribute("points", losses.map((loss, i) => `${x(i + 0.5)},${y(loss)}`).join(" "));
    this.marks.replaceChildren(...bands.flatMap((band, n) => {
      const [from, to, mean] = [x(band.start), x(band.start + band.count), y(band.sum / band.count)];
      const line = svg("line", { class: "mean", x1: from, x2: to, y1: mean, y2: mean });
      return n % 2 ? [svg("rect", { class: "band", x: from, y: 0, width: Number(to) - Number(from), height: HEIGHT }), line] : [line];
    }));
    const band = bands.at(-1)!;
    const text = `iteration ${losses.length} of ${this.total}, timestep ${band.timestep}: loss ${last.toFixed(4)}, mean here ` +
      `${(band.sum / band.count).toFixed(4)}`;
    this.picture.setAttribute("aria-label", `Loss curve: ${text}`);
    this.note.replaceChildren(
      Object.assign(document.createElement("span"), { textContent: text }),
      Object.assign(document.createElement("span"), { textContent: `0 to ${high.toFixed(3)}` }),
    );
  }
}
