import { FormatError } from "../../formats/errors.ts";
import type { FileSystem } from "../../formats/file-system.ts";
import { readNpz, writeNpz } from "../../formats/numpy/npz.ts";
import { matrix } from "../linear-algebra/matrix.ts";
import type { Statistics } from "./statistics.ts";

/**
 * Statistics as pytorch-fid, T2IBenchmark and clean-fid keep them: an .npz with `mu` [d] and `sigma` [d, d].
 * @throws FormatError for another archive, arrays that do not belong together, or numbers that are not finite
 */
export async function readStatistics(files: FileSystem, path: string): Promise<Statistics> {
  const source = await files.open(path);
  try {
    const { mu, sigma } = await readNpz(source, ["mu", "sigma"]);
    const dims = mu.data.length;
    if (mu.shape.length !== 1 || sigma.shape.join() !== `${dims},${dims}`) {
      throw new FormatError(path, `mu is [${mu.shape.join(", ")}] and sigma [${sigma.shape.join(", ")}]; [d] and [d, d] are expected`);
    }
    for (const [name, { data }] of [["mu", mu], ["sigma", sigma]] as const) {
      const at = data.findIndex((x) => !Number.isFinite(x));
      if (at >= 0) throw new FormatError(path, `${name} holds ${data[at]} at index ${at}`);
    }
    return { mean: mu.data, covariance: matrix(dims, dims, sigma.data) };
  } finally {
    await source.close();
  }
}

/** The same as bytes of a file that those tools read. */
export function writeStatistics({ mean, covariance }: Statistics): Promise<Uint8Array<ArrayBuffer>> {
  const dims = mean.length;
  return writeNpz({ mu: { data: mean, shape: [dims] }, sigma: { data: covariance.data, shape: [dims, dims] } });
}
