import { timestepFeatures } from "../../diffusion/unet.ts";

/** Sinusoidal features [N, width] of timesteps as Stable Diffusion's UNets take them: cosines first, frequencies from 1 down to 1e-4. */
export function timestepFrequencies(width: number, timesteps: readonly number[]): Float32Array<ArrayBuffer> {
  return timestepFeatures({ blockOutChannels: [width], flipSinToCos: true, freqShift: 0 }, timesteps);
}
