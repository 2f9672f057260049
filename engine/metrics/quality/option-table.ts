import { SCHEDULER_NAMES } from "../../diffusion/schedulers/index.ts";
import { choice, flag, number, whole } from "../../options/option.ts";
import { INCEPTION_DIMS } from "../../vision/inception.ts";
import { KID_DEFAULTS } from "../distance/kid.ts";
import { RECIPE_NAMES } from "../recipes.ts";

/** What decides a set of features: a run that is gone on with, and shards that are merged, agree in it. */
export const FEATURE_OPTIONS = {
  recipe: choice(RECIPE_NAMES, {
    default: "t2ibenchmark",
    help: "how pictures are brought to the network, and which network it is; numbers of two recipes are not comparable",
  }),
  dims: choice(INCEPTION_DIMS.map(String), {
    default: "2048",
    help: "which layer of Inception: 2048 is FID's; smaller ones are for quick looks and are not comparable with it",
  }),
  steps: whole({ default: 100, min: 1, max: 1000, help: "sampling steps" }),
  scheduler: choice(SCHEDULER_NAMES, { default: "lms", defaultNote: "lms, as the benchmark", help: "sampler" }),
  guidance: number({ default: 7.5, min: 0, value: "scale", help: "classifier-free guidance" }),
  batch: whole({ default: 1, min: 1, max: 64, help: "pictures drawn together" }),
  count: whole({ default: null, min: 2, defaultNote: "all", help: "only the first so many captions, or pictures of each folder by name" }),
};

/** How the features are summed up. */
export const SCORE_OPTIONS = {
  kidSubsets: whole({ default: KID_DEFAULTS.subsets, min: 1, max: 10_000, help: "KID: subsets drawn" }),
  kidSize: whole({
    default: null,
    min: 2,
    defaultNote: `${KID_DEFAULTS.size}, or all pictures of the smaller set if they are fewer`,
    help: "KID: pictures in a subset",
  }),
  kidSeed: whole({ default: KID_DEFAULTS.seed, min: 0, max: 2 ** 32 - 1, help: "KID: seed of the subsets, as torch-fidelity's" }),
  bootstrap: whole({
    default: null,
    min: 0,
    max: 10_000,
    defaultNote: "100 where they take less than a minute",
    help: "resamples for FID's interval; 0: none",
  }),
};

/** What a quality run is told. */
export const QUALITY_OPTIONS = {
  ...FEATURE_OPTIONS,
  ...SCORE_OPTIONS,
  skipUnreadable: flag({ help: "pass over pictures that cannot be read, and count them, instead of stopping at the first" }),
  dropPictures: flag({ help: "keep the features of drawn pictures only, not the pictures" }),
};
