import type { RgbImage } from "../formats/picture/image.ts";
import { INCEPTION_SIZE, type InceptionDims } from "../vision/inception.ts";
import type { Inception } from "../vision/inception-model.ts";
import type { ImageClassifier } from "../vision/image-classifier.ts";
import { RECIPES, type RecipeName } from "./recipes.ts";

/** What makes of a picture the numbers that sets of pictures are compared by. */
export interface FeatureNetwork {
  /** What its features are called, by which two sets of them are known to be comparable. */
  readonly name: string;
  readonly dims: number;
  /** "FID" is only said of Inception's features. */
  readonly distanceName: "FID" | "Frechet distance";
  /** The mean is kept in float32 in the reference. */
  readonly meanPrecision: "float32" | "float64";
  /**
   * Features [pictures, dims], row by row.
   * @param resized is told how many ms bringing them to Inception's size took; a classifier does not tell
   */
  features(pictures: readonly RgbImage[], resized?: (ms: number) => void): Promise<Float32Array<ArrayBuffer>>;
  destroy(): Promise<void>;
}

/** Inception's features by a recipe. */
export function inceptionFeatures(network: Inception, recipe: RecipeName, dims: InceptionDims = 2048): FeatureNetwork {
  const { prepare, meanPrecision } = RECIPES[recipe];
  const size = INCEPTION_SIZE * INCEPTION_SIZE * 3;
  return {
    name: `${recipe} ${dims}`,
    dims,
    distanceName: "FID",
    meanPrecision,
    async features(pictures, resized) {
      const begun = performance.now();
      const batch = new Float32Array(pictures.length * size);
      pictures.forEach((picture, i) => batch.set(prepare(picture), i * size));
      resized?.(performance.now() - begun);
      return network.features(batch, dims);
    },
    destroy: () => network.destroy(),
  };
}

/**
 * What a classifier's last layer sees, after the classifier's own preprocessing: for models whose pictures Inception was not made for.
 * @param name what the classifier is called in reports
 * @throws InputError for a classifier that works on pictures of several sizes
 */
export async function classifierFeatures(classifier: ImageClassifier, name: string): Promise<FeatureNetwork> {
  const blank = { data: new Uint8Array(3), width: 1, height: 1 };
  const dims = (await classifier.features([blank])).length;
  return {
    name: `classifier features ${name} ${dims}`,
    dims,
    distanceName: "Frechet distance",
    meanPrecision: "float64",
    features: (pictures) => classifier.features(pictures),
    destroy: () => classifier.destroy(),
  };
}
