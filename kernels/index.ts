import { activationKernel, activationGradientKernel } from "./activation.ts";
import { adamKernel } from "./adam.ts";
import { argmaxKernel } from "./argmax.ts";
import { attentionGradientKernel } from "./attention-gradient.ts";
import { attentionKernel } from "./attention.ts";
import { averagePool2dKernel } from "./average-pool-2d.ts";
import { averagePoolKernel, averagePoolGradientKernel } from "./average-pool.ts";
import { broadcastAddKernel, broadcastToKernel, sumRowsKernel } from "./broadcast.ts";
import { categoricalKernel } from "./categorical.ts";
import { clampKernel, clampGradientKernel } from "./clamp.ts";
import { joinColumnsKernel, splitColumnsKernel } from "./columns.ts";
import { clipNormKernel } from "./clip-norm.ts";
import { concatKernel } from "./concat.ts";
import { conv2dKernel, conv2dGradientKernel } from "./conv2d.ts";
import { addKernel, multiplyKernel, scaleKernel } from "./elementwise.ts";
import { embeddingKernel } from "./embedding.ts";
import { endOfTextKernel } from "./end-of-text.ts";
import { fillKernel } from "./fill.ts";
import { gatherRowsKernel, scatterRowsKernel } from "./gather-rows.ts";
import { gegluKernel, gegluGradientKernel } from "./geglu.ts";
import { groupNormGradientKernel } from "./group-norm-gradient.ts";
import { groupNormKernel } from "./group-norm.ts";
import { groupNormApplyKernel, groupNormMergeKernel, groupNormStatisticsKernel } from "./group-norm-parts.ts";
import { guidanceKernel, guidanceGradientKernel, safeGuidanceKernel } from "./guidance.ts";
import { layerNormKernel, layerNormGradientKernel } from "./layer-norm.ts";
import { lerpKernel } from "./lerp.ts";
import { linearCombinationKernel, linearCombinationGradientKernel } from "./linear-combination.ts";
import { lossScaleKernel, scaleByKernel } from "./loss-scale.ts";
import { mseLossKernel, l1LossKernel, lossGradientKernel } from "./loss.ts";
import { matmulGegluGradientKernel, matmulGegluKernel } from "./matmul-geglu.ts";
import { matmulKernel } from "./matmul.ts";
import { maxPoolKernel, maxPoolGradientKernel } from "./max-pool.ts";
import { sumKernel, sumOfSquaresKernel } from "./reduce.ts";
import { repackKernel } from "./repack.ts";
import { reshapeKernel } from "./reshape.ts";
import { simplexProjectionKernel } from "./simplex-projection.ts";
import { sliceKernel, padKernel } from "./slice.ts";
import { scatterIdsKernel } from "./slots.ts";
import { softmaxKernel, softmaxGradientKernel } from "./softmax.ts";
import { transposeKernel } from "./transpose.ts";
import { upsampleKernel, upsampleGradientKernel } from "./upsample.ts";
import { weightGradientKernel } from "./weight-gradient.ts";

/** Every op there is. A kernel's inputs and attributes are its own, so the table can only be read, not applied. */
export const KERNELS: readonly { readonly name: string; readonly layout?: string; readonly plan?: unknown }[] = [
  activationKernel,
  activationGradientKernel,
  adamKernel,
  argmaxKernel,
  attentionGradientKernel,
  attentionKernel,
  averagePool2dKernel,
  averagePoolKernel,
  averagePoolGradientKernel,
  broadcastAddKernel,
  broadcastToKernel,
  sumRowsKernel,
  categoricalKernel,
  clampKernel,
  clampGradientKernel,
  clipNormKernel,
  joinColumnsKernel,
  splitColumnsKernel,
  concatKernel,
  conv2dKernel,
  conv2dGradientKernel,
  addKernel,
  multiplyKernel,
  scaleKernel,
  embeddingKernel,
  endOfTextKernel,
  fillKernel,
  gatherRowsKernel,
  scatterRowsKernel,
  gegluKernel,
  gegluGradientKernel,
  groupNormGradientKernel,
  groupNormApplyKernel,
  groupNormKernel,
  groupNormMergeKernel,
  groupNormStatisticsKernel,
  guidanceKernel,
  guidanceGradientKernel,
  safeGuidanceKernel,
  layerNormKernel,
  layerNormGradientKernel,
  lerpKernel,
  linearCombinationKernel,
  linearCombinationGradientKernel,
  lossScaleKernel,
  scaleByKernel,
  mseLossKernel,
  l1LossKernel,
  lossGradientKernel,
  matmulKernel,
  matmulGegluKernel,
  matmulGegluGradientKernel,
  maxPoolKernel,
  maxPoolGradientKernel,
  sumKernel,
  sumOfSquaresKernel,
  repackKernel,
  reshapeKernel,
  simplexProjectionKernel,
  sliceKernel,
  padKernel,
  scatterIdsKernel,
  softmaxKernel,
  softmaxGradientKernel,
  transposeKernel,
  upsampleKernel,
  upsampleGradientKernel,
  weightGradientKernel,
];
