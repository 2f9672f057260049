import type { TensorFile } from "../formats/tensor-file.ts";
import type { WeightSource } from "./parameters.ts";

/** A tensor file as the weights of a component. */
export function weightSource(file: TensorFile): WeightSource {
  return {
    name: file.name,
    shape: (tensor) => file.entries.get(tensor)?.shape,
    names: () => file.entries.keys(),
    readFloat32: (tensor) => file.readFloat32(tensor),
    readFloat16: (tensor) => (file.entries.get(tensor)?.dtype === "F16" ? file.readFloat16(tensor) : undefined),
    close: () => file.close(),
  };
}
