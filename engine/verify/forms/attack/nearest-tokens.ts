import { joinPath } from "../../../formats/file-system.ts";
import type { Rows } from "../../rows.ts";
import type { Trace } from "./trace.ts";
import { openWeights } from "../../../formats/diffusers.ts";

/** Two cosines closer than this are a tie that rounding decides. */
const CLEAR_COSINE = 1e-5;

/**
 * The token nearest by cosine to every continuous row of a hard-prompt trace (bos and eos count), wherever it is ahead of the second by
 * more than rounding: used in each iteration's forward pass, and after the last one of each timestep. Worked out on the host in float64.
 * @param chosen those that the attack's own program took in each iteration's forward pass
 */
export async function nearestTokens(
  trace: Trace,
  rows: Rows,
  files: Parameters<typeof openWeights>[0],
  chosen: readonly number[],
): Promise<void> {
  const { golden, layout, iterations, target } = trace;
  const { vocabularySize, hiddenSize } = target.parts.textEncoder.config;
  const file = await openWeights(files, joinPath(target.parts.name, "text_encoder"));
  const table = unitRows(await file.readFloat32("text_model.embeddings.token_embedding.weight"), hiddenSize);
  await file.close();
  const [init, moved] = [await golden.floats("init"), await golden.floats("adam")];
  const size = layout.slots.length * hiddenSize;
  const nearest = (data: Float32Array): { id: number; margin: number }[] => {
    const unit = unitRows(data, hiddenSize);
    return Array.from({ length: data.length / hiddenSize }, (_, r) => {
      let [best, second, id] = [-Infinity, -Infinity, 0];
      for (let token = 0; token < vocabularySize; token++) {
        let cosine = 0;
        for (let i = 0; i < hiddenSize; i++) cosine += unit[r * hiddenSize + i]! * table[token * hiddenSize + i]!;
        if (cosine > best) [second, best, id] = [best, cosine, token];
        else if (cosine > second) second = cosine;
      }
      return { id, margin: best - second };
    });
  };
  const compare = (tensor: string, found: readonly { id: number; margin: number }[], expected: Int32Array): void => {
    const clear = found.flatMap((f, i) => (f.margin > CLEAR_COSINE ? [i] : []));
    const wrong = found.length === expected.length ? clear.filter((i) => found[i]!.id !== expected[i]).length : Infinity;
    rows.error(trace.name, tensor, wrong, 0, "mismatches", `${clear.length} of ${expected.length} clear of a tie`);
  };
  const before = Float32Array.from([...init, ...moved.subarray(0, moved.length - size)]);
  const nearestBefore = nearest(before);
  const projected = await golden.ints("proj_ids");
  compare("proj_ids", nearestBefore, projected);
  compare("proj_ids of the attack's program", chosen.map((id, i) => ({ id, margin: nearestBefore[i]?.margin ?? 0 })), projected);
  compare("init_ids", nearest(init), await golden.ints("init_ids"));
  const last = Array.from({ length: moved.length / size / iterations }, (_, j) => [
    ...moved.subarray(((j + 1) * iterations - 1) * size, (j + 1) * iterations * size),
  ]);
  compare("final_ids", nearest(Float32Array.from(last.flat())), await golden.ints("final_ids"));
}

function unitRows(data: Float32Array, width: number): Float64Array {
  const out = Float64Array.from(data);
  for (let at = 0; at < out.length; at += width) {
    const row = out.subarray(at, at + width);
    const norm = Math.hypot(...row) || 1;
    row.forEach((x, i) => (row[i] = x / norm));
  }
  return out;
}
