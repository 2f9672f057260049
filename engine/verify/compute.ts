import type { Value } from "../../kernels/kernel.ts";
import type { NDArray } from "../nn/array.ts";
import type { Recording } from "../nn/program-cache.ts";
import type { Graph } from "../runtime/graph.ts";
import type { HostArray, Program } from "../runtime/program.ts";

/** Inputs by name: f32, or u32 as the data is. */
export type Inputs = Readonly<Record<string, { readonly data: HostArray; readonly shape: readonly number[] }>>;

export type Values = Readonly<Record<string, Value>>;

/** A model, or whatever else keeps programs by their key. */
export interface Recordable {
  program(key: string, record: Recording): Promise<Program>;
}

/** Runs what is recorded of the inputs. @param key says what `record` records: with the inputs' shapes it is the program's */
export async function run(model: Recordable, key: string, inputs: Inputs, record: (g: Graph, v: Values) => Values): Promise<Program> {
  const all = Object.entries(inputs);
  const program = await model.program(`verify ${key} ${all.map(([name, { shape }]) => `${name} ${shape.join("x")}`).join()}`, (g) => {
    const values = all.map(([name, { data, shape }]) => [
      name, g.input(name, { shape, dtype: data instanceof Uint32Array ? "u32" : "f32" }),
    ]);
    return { outputs: record(g, Object.fromEntries(values) as Values) };
  });
  // An input that no output depends on is not part of the program.
  await program.run(Object.fromEntries(all.flatMap(([name, { data }]) => (program.hasInput(name) ? [[name, data]] : []))));
  return program;
}

/** Outputs of a program's last run with their shapes, all of them if none is named. */
export async function read(program: Program, ...names: string[]): Promise<Record<string, NDArray>> {
  const numbers = (await program.read(...names)) as Record<string, Float32Array<ArrayBuffer>>;
  return Object.fromEntries(
    Object.entries(numbers).map(([name, data]) => [name, { data, shape: program.outputs.get(name)!.type.shape }]),
  );
}

/** Runs what is recorded of the inputs and reads all of it, f32. @param key as of `run` */
export async function compute(...args: Parameters<typeof run>): Promise<Record<string, NDArray>> {
  return read(await run(...args));
}

/** What a recording captured of the modules asked for, each under a name of its own. */
export function capturedOf(g: Graph, modules: readonly string[], nameOf: (module: string) => string): Values {
  return Object.fromEntries(
    modules.flatMap((module) => {
      const value = g.captured.get(module);
      return value ? [[nameOf(module), value]] : [];
    }),
  );
}
