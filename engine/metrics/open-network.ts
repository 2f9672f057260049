import { type FileSystem, joinPath } from "../formats/file-system.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import type { Device } from "../runtime/device.ts";
import { UsageError } from "../runtime/errors.ts";
import { INCEPTION_DIMS } from "../vision/inception.ts";
import { loadClassifier } from "../vision/image-classifier.ts";
import { loadInception } from "../vision/inception-model.ts";
import { type FeatureNetwork, classifierFeatures, inceptionFeatures } from "./feature-network.ts";
import { RECIPES, type RecipeName } from "./recipes.ts";

/**
 * The network of a recipe: a file of Inception's weights, or the folder of an image classifier, whose last layer's input then takes the
 * place of Inception's features and whose own preprocessing takes the recipe's.
 * @param name what a classifier is called in reports
 * @throws FormatError or InputError naming the file; UsageError for a layer that Inception does not have
 */
export async function openFeatureNetwork(
  device: Device,
  { files, path, name = path }: { readonly files: FileSystem; readonly path: string; readonly name?: string },
  options: { readonly recipe: RecipeName; readonly dims: number; readonly weights?: WeightPrecision | undefined },
): Promise<FeatureNetwork> {
  const { recipe, weights } = options;
  if ((await files.kind(joinPath(path, "config.json"))) === "file") {
    const classifier = await loadClassifier(device, { files, folder: path }, weights ? { weights } : {});
    return classifierFeatures(classifier, name);
  }
  const dims = INCEPTION_DIMS.find((d) => d === options.dims);
  if (dims === undefined) throw new UsageError(`dims must be one of ${INCEPTION_DIMS.join(", ")}, got ${options.dims}`);
  const network = await loadInception(device, { files, path }, { variant: RECIPES[recipe].network, weights });
  return inceptionFeatures(network, recipe, dims);
}
