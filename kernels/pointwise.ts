import pointwiseWgsl from "../shaders/lib/pointwise.wgsl";
import { type Binding, type Defines, type Dispatch, type ShaderSource, type TensorType, elementCount, spread } from "./kernel.ts";

interface PointwiseOptions {
  readonly defines?: Defines;
  readonly bindings?: Readonly<Record<string, Binding>>;
}

/**
 * One dispatch of a shader with a thread for each element, or whatever it takes at once, `count` of them; its main is
 * `shaders/lib/pointwise.wgsl`.
 */
export function pointwise(
  shader: ShaderSource,
  params: Readonly<Record<string, number>> & { readonly count: number },
  { defines, ...bound }: PointwiseOptions = {},
  threads = 64,
): Dispatch {
  const workgroups = spread(Math.ceil(params.count / threads));
  return { shader, defines: { POINTWISE: pointwiseWgsl, THREADS: threads, ...defines }, params, ...bound, workgroups };
}

/** The same for each vec4 of a tensor, the last one perhaps partly padding. On lavapipe 64 threads took a tenth longer. */
export function vectorwise(
  shader: ShaderSource,
  { shape }: TensorType,
  params: Readonly<Record<string, number>> = {},
  options: PointwiseOptions = {},
): Dispatch {
  return pointwise(shader, { count: Math.ceil(elementCount(shape) / 4), ...params }, options, 256);
}
