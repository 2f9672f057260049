import { formatTable } from "../../engine/run/text/format.ts";
import { type BenchResult, rowMs } from "../results.ts";
import { figures } from "../statistics.ts";
import type { Card } from "./cards.ts";
import type { Prediction } from "./roofline.ts";

/** Milliseconds that a result measured for a predicted row of that model; undefined if it has none. */
export function measuredMs(result: BenchResult, model: string, { row }: Prediction): number | undefined {
  const found = result.rows.find(
    (r) => r.engine === "lethe" && r.model === model && r.suite === row.suite && r.name === row.name && r.direction === row.direction,
  );
  return found && rowMs(found, result.basis);
}

const right = (title: string): { title: string; right: true } => ({ title, right: true });

/** Each pass, measured beside predicted where a result is given, and the ops of the last pass. */
export function predictionText(
  predictions: readonly Prediction[],
  card: Card,
  half: boolean,
  model: string,
  measured: BenchResult | undefined,
): string {
  const rate = half ? `${figures(card.matrixGflops)} GFLOP/s in products of f16 operands, ` : "";
  const head =
    `A prediction, not a measurement: ${card.name} at ${rate}${figures(card.gflops)} GFLOP/s in f32, ${figures(card.gbps)} GB/s, ` +
    `${card.launchMicroseconds} us a dispatch (${card.source}).`;
  const passes = formatTable(
    [{ title: "pass" }, { title: "" }, right("GFLOP"), right("GB"), right("dispatches"), right("ms, predicted"),
      ...(measured ? [right("ms, measured"), right("measured / predicted")] : [])],
    predictions.map((p) => {
      const ms = measured && measuredMs(measured, model, p);
      return [
        p.row.name, p.row.direction === "forward" ? "" : "+grad", figures(p.flops / 1e9), figures(p.bytes / 1e9), String(p.dispatches),
        figures(p.milliseconds),
        ...(measured ? [ms === undefined ? "-" : figures(ms), ms === undefined ? "-" : `${figures(ms / p.milliseconds)}x`] : []),
      ];
    }),
  );
  const last = predictions.at(-1);
  if (!last) return head;
  const ops = formatTable(
    [{ title: `ops of ${last.row.name}` }, right("times"), right("GFLOP"), right("GB"), right("ms, predicted"), { title: "bound by" }],
    last.ops.map((o) => [o.op, String(o.count), figures(o.flops / 1e9), figures(o.bytes / 1e9), figures(o.milliseconds), o.bound]),
  );
  const from = measured && `Measured: ${measured.stamp.adapter.description}, commit ${measured.stamp.commit ?? "unknown"}.`;
  return [head, passes, ops, ...(from ? [from] : [])].join("\n\n");
}
