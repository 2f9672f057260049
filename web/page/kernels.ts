import { type Child, el, find, table } from "./parts/dom.ts";
import type { Engine, Running } from "./engine.ts";
import { formatBytes } from "../../engine/run/text/format.ts";
import { Panel } from "./parts/panel.ts";

type Table = ReturnType<typeof table>;

/** The Kernels tab: is this device right, and how fast. */
export class KernelsTab {
  private readonly panel: Panel;
  private readonly tables: HTMLElement;
  private readonly device: HTMLElement;
  private readonly copyButton: HTMLButtonElement;
  private readonly text: string[] = [];

  constructor(root: HTMLElement, private readonly engine: Engine) {
    this.panel = new Panel(root);
    this.tables = find(root, "[data-tables]");
    this.device = find(root, "[data-device]");
    this.copyButton = find<HTMLButtonElement>(root, "[data-copy]");
    const works = { verify: () => this.verify(), selfTest: () => this.selfTest(), bench: () => this.bench() };
    for (const [name, work] of Object.entries(works)) {
      find<HTMLButtonElement>(root, `[data-run=${name}]`).onclick = () => {
        if (!this.panel.busy) void work();
      };
    }
    this.copyButton.onclick = () => void this.copy();
  }

  /** Adapter, features and limits. */
  async showDevice(): Promise<void> {
    try {
      const { version, description, features, limits, software, subgroupSize, kernels } = await this.engine.call("device", null);
      const size = (name: string, n: number): string =>
        name.endsWith("Size") && n >= 1024 && !/Invocations/.test(name) ? formatBytes(n) : n.toLocaleString("en-US");
      const pairs: [string, string][] = [
        ["Lethe", version],
        ["device", description],
        ["kind", software ? "software: the CPU does the work" : "GPU"],
        ["subgroups", subgroupSize > 0 ? `of ${subgroupSize}, fixed` : "not of a fixed size"],
        ["features", features.join(", ") || "none"],
        ["variants of kernels", kernels],
        ...Object.entries(limits).map(([name, n]): [string, string] => [name, size(name, n)]),
        ["browser", navigator.userAgent],
      ];
      this.device.replaceChildren(
        ...pairs.map(([name, value]) => el("div", name === "browser" ? { class: "wide" } : {}, el("dt", {}, name), el("dd", {}, value))),
      );
      this.text.splice(0, this.text.length, ...pairs.map(([name, value]) => `${name}: ${value}`));
      this.copyButton.disabled = false;
    } catch (error) {
      this.panel.fail(error);
    }
  }

  private async measure<T>(
    title: string,
    header: readonly string[],
    numeric: readonly number[],
    start: (add: (cells: readonly Child[], bad?: boolean) => void) => Running<T>,
    summary: (result: T) => string,
  ): Promise<void> {
    if (this.device.childElementCount < 2) await this.showDevice();
    const made: Table = table(title, header, new Set(numeric));
    const heading = el("h2", {}, title);
    this.tables.prepend(heading, made.element);
    this.text.push("", title, header.join("\t"));
    this.panel.status(`${title} ...`);
    const started = performance.now();
    const result = await this.panel.run(start((cells, bad) => {
      made.add(cells, bad);
      this.text.push(cells.map((c) => (typeof c === "string" ? c : (c.textContent ?? ""))).join("\t"));
    }));
    if (result === undefined) return;
    const line = `${summary(result)} ${((performance.now() - started) / 1000).toFixed(1)} s.`;
    this.panel.status(line);
    this.text.push(line);
  }

  private verify(): Promise<void> {
    let count = 0;
    return this.measure(
      "Verify: the bundled model against its reference outputs",
      ["case", "tensor", "error", "tolerance", "verdict"],
      [2, 3],
      (add) =>
        this.engine.start("verify", null, (row) => {
          this.panel.status(`${++count} checks done`);
          add(
            [
              row.case,
              row.note ? el("span", {}, row.tensor, el("small", {}, row.note)) : row.tensor,
              errorText(row.error),
              errorText(row.tolerance),
              row.ok ? "ok" : "WRONG",
            ],
            !row.ok,
          );
        }),
      ({ ok, rows }) =>
        ok
          ? `All ${rows.length} checks are within tolerance.`
          : `${rows.filter((r) => !r.ok).length} of ${rows.length} checks are over tolerance: this device computes wrongly.`,
    );
  }

  private selfTest(): Promise<void> {
    return this.measure(
      "Self-test of every kernel against float64",
      ["test", "error", "tolerance", "ms", "verdict"],
      [1, 2, 3],
      (add) =>
        this.engine.start("selfTest", null, ({ row, done, total }) => {
          this.panel.status(`${done} of ${total} tests`, done / total);
          add(
            [
              el("span", {}, row.name, el("small", {}, row.note || row.kernels.join(", "))),
              errorText(row.error),
              errorText(row.tolerance),
              row.milliseconds.toFixed(1),
              row.ok ? "ok" : "WRONG",
            ],
            !row.ok,
          );
        }),
      (rows) =>
        rows.every((r) => r.ok)
          ? `All ${rows.length} tests passed.`
          : `${rows.filter((r) => !r.ok).length} of ${rows.length} tests FAILED: this device computes wrongly.`,
    );
  }

  private bench(): Promise<void> {
    return this.measure(
      "Bench: kernels with their best time",
      ["kernel", "ms", "GFLOP/s", "GB/s"],
      [1, 2, 3],
      (add) =>
        this.engine.start("bench", null, (row) =>
          add([
            el("span", {}, row.name, el("small", {}, row.kernels)),
            row.milliseconds.toFixed(row.milliseconds < 10 ? 3 : 1),
            row.gflops.toFixed(1),
            row.gigabytesPerSecond.toFixed(row.gigabytesPerSecond < 10 ? 2 : 0),
          ]),
        ),
      (rows) => `${rows.length} kernels timed.`,
    );
  }

  private async copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(`${this.text.join("\n")}\n`);
      this.panel.status("Copied.");
    } catch (error) {
      this.panel.fail(error);
    }
  }
}

/** 1.2e-7, or a plain number where that is shorter. */
function errorText(value: number | null): string {
  if (value === null) return "-";
  return Number.isInteger(value) ? String(value) : value.toExponential(1);
}
