import { StableDiffusionPipeline } from "../diffusion/pipeline.ts";
import type { StableDiffusion, StableDiffusionParts } from "../diffusion/stable-diffusion.ts";
import type { Parameters, WeightSource } from "../nn/parameters.ts";
import { type Adapter, AdaptedParameters } from "../nn/adapted-parameters.ts";
import { ParametersVariant } from "../nn/parameters-variant.ts";

/** A component of a model, as its weights' names begin on the device. */
export type ComponentName = "unet" | "text_encoder";

/** What a variant has of its own. */
export interface VariantOptions {
  /** Which tensors, by the checkpoint's names. */
  readonly owns: (tensor: string, component: string) => boolean;
  /** Of the own tensors' numbers; default: the model's. */
  readonly source?: (component: ComponentName) => WeightSource | undefined;
  /** Linear weights that are multiplied by themselves, not joined with others of the same input. */
  readonly apart?: (tensor: string) => boolean;
  /** Low-rank additions. They belong to the variant and are freed with it. */
  readonly adapters?: Readonly<Partial<Record<ComponentName, Adapter>>>;
}

/**
 * A model that shares all weights with another but some, which it has for itself and may train: the other stays what it was. Only what
 * differs takes memory of its own. Destroying it leaves the other alone.
 */
export function variantOf(model: StableDiffusion, { owns, source, apart, adapters }: VariantOptions): StableDiffusionPipeline {
  const { parts } = model;
  const part = <P extends { readonly parameters: Parameters }>(one: P, of?: ComponentName): P => {
    const own = (tensor: string): boolean => of !== undefined && owns(tensor, of);
    const adapter = of && adapters?.[of];
    const parameters: Parameters = adapter
      ? new AdaptedParameters(one.parameters, adapter)
      : new ParametersVariant(one.parameters, own, of && source?.(of), of && apart);
    return like<{ parameters: Parameters }>(one, { parameters }) as P;
  };
  const variant = new StableDiffusionPipeline(
    like<StableDiffusionParts>(parts, {
      unet: part(parts.unet, "unet"),
      textEncoder: part(parts.textEncoder, "text_encoder"),
      ...(parts.second && { second: part(parts.second) }),
      vae: part(parts.vae),
    }),
  );
  variant.planStreams = model.planStreams;
  variant.recomputes = model.recomputes;
  return variant;
}

/** With some properties changed. By descriptors, since a part that a model lacks is a getter that throws. */
function like<T extends object>(object: T, changed: Partial<T>): T {
  const properties = Object.fromEntries(Object.entries(changed).map(([name, value]) => [name, { value, enumerable: true }]));
  return Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(object), ...properties }) as T;
}
