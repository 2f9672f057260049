/** What SDXL is told of a picture's size, in pixels (diffusers 0.21 pipeline_stable_diffusion_xl.py:506-520). */
export interface SizeConditions {
  /** Height and width before cropping and scaling. */
  readonly original: readonly [height: number, width: number];
  /** Where the crop began. */
  readonly crop: readonly [top: number, left: number];
  /** Height and width aimed at. */
  readonly target: readonly [height: number, width: number];
}

/** The conditions of a picture drawn at its own size: the pipeline's default. */
export function ownSize(height: number, width: number): SizeConditions {
  return { original: [height, width], crop: [0, 0], target: [height, width] };
}

/** The UNet's six numbers (`time_ids`). */
export function sizeNumbers({ original, crop, target }: SizeConditions): readonly number[] {
  return [...original, ...crop, ...target];
}
