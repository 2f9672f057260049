import { joinPath } from "../../../formats/file-system.ts";
import { GAIN } from "../../../loading/synthetic.ts";
import { inceptionFeatures } from "../../../metrics/feature-network.ts";
import { frechetDistance } from "../../../metrics/distance/frechet.ts";
import { statisticsOf } from "../../../metrics/distance/statistics.ts";
import { INCEPTION_DIMS } from "../../../vision/inception.ts";
import { Inception } from "../../../vision/inception-model.ts";
import type { Form } from "../../check.ts";
import { hashedInception } from "./hashed-inception.ts";
import { referencePicture } from "../../pictures.ts";

/** Relative: the rounding of the features decides. */
const DISTANCE_TOLERANCE = 1e-3;

/** `folders`: the benchmark's whole way from two folders of pictures to the distance, with hashed weights. */
export const folders: Form = async (check) => {
  const { golden, rows, context } = check;
  const named = golden.object("folders");
  const gain = golden.json["gain"] === undefined ? GAIN : golden.number("gain");
  const network = new Inception(await context.device(), "fid", hashedInception("fid", gain));
  try {
    await check.cases("features", async (c) => {
      const dims = INCEPTION_DIMS.find((d) => c.name === `dims${d}`);
      if (dims === undefined) throw new Error(`no layer of ${c.name}: known are ${INCEPTION_DIMS.map((d) => `dims${d}`).join(", ")}`);
      const extractor = inceptionFeatures(network, "t2ibenchmark", dims);
      const sets = [];
      for (const name of Object.keys(named)) {
        const folder = golden.text(name, named);
        const files = (await context.files.list(joinPath(golden.folder, folder))).filter((file) => file.endsWith(".png"));
        const pictures = await Promise.all(files.map((file) => referencePicture(golden, context.files, joinPath(folder, file))));
        const data = await extractor.features(pictures);
        const tensor = `${name}.features${dims === 2048 ? "" : dims}`;
        await check.compare(c.name, tensor, data, undefined, { key: tensor });
        const features = { data, count: files.length, dims };
        sets.push({ name, features, statistics: statisticsOf(features) });
      }
      const { distance } = frechetDistance(sets[0]!, sets[1]!);
      for (const field of ["exact", "t2ibenchmark_code"].filter((f) => c[f] !== undefined)) {
        const expected = golden.number(field, c);
        rows.error(c.name, field, Math.abs(distance / expected - 1), DISTANCE_TOLERANCE);
      }
    });
  } finally {
    await network.destroy();
  }
};
