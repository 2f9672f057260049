/** How ops whose inputs and outputs go by name are kept in a graph, whose nodes hold them in arrays. */

import {
  type Attributes, type ByName, type Capabilities, type Cost, type InputRule, type Kernel, type Plan, type Recorder, ShapeError,
  type TensorType, type Value, columnsOf, formatType, isInPanels,
} from "./kernel.ts";

type Places<T> = readonly (T | undefined)[];

/** An op with its inputs and outputs by place. */
export class PlacedKernel {
  readonly name: string;
  readonly layout: Kernel<Attributes>["layout"];
  readonly keepsF32: boolean;
  /** By name or by place, whatever the kernel's own types say. */
  private readonly kernel: Kernel<Attributes, string, string, string>;
  private readonly rules: readonly (readonly [name: string, rule: InputRule])[];
  private readonly more: readonly [name: string, rule: InputRule] | undefined;

  constructor(kernel: Kernel<Attributes, string, string, string>) {
    this.kernel = kernel;
    this.name = kernel.name;
    this.layout = kernel.layout;
    this.keepsF32 = kernel.keepsF32 ?? false;
    this.rules = Object.entries(kernel.inputs);
    this.more = Object.entries(kernel.rest ?? {})[0];
  }

  /** Name and rule of the input in a place. */
  rule(place: number): readonly [name: string, rule: InputRule] {
    const further = place - this.rules.length;
    return this.rules[place] ?? [`${this.more![0]}${further}`, this.more![1]];
  }

  /** Inputs given by name, in their places. @throws ShapeError for a name that the op does not have */
  toPlaces<T>(byName: Readonly<Record<string, T | undefined>>): (T | undefined)[] {
    const places = this.rules.map(([name]) => byName[name]);
    if (this.more) for (let i = 0; byName[`${this.more[0]}${i}`] !== undefined; i++) places.push(byName[`${this.more[0]}${i}`]);
    const unknown = Object.keys(byName).find((name) => byName[name] !== undefined && !places.some((_, i) => this.rule(i)[0] === name));
    if (unknown !== undefined) throw new ShapeError(this.name, `has no input "${unknown}"`);
    return places;
  }

  /** Outputs by name. */
  outputsByName<T>(places: readonly T[], attributes: Attributes): Record<string, T> {
    return Object.fromEntries(this.outputNames(attributes).map((name, i) => [name, places[i]!]));
  }

  private outputNames(attributes: Attributes): readonly string[] {
    const { outputs = ["y"] } = this.kernel;
    return typeof outputs === "function" ? outputs(attributes) : outputs;
  }

  private byName<T>(places: Places<T>): ByName<string, never, T> {
    return Object.fromEntries(places.map((x, i) => [this.rule(i)[0], x])) as Record<string, T>;
  }

  /** Puts the op's name before what it says of a shape. */
  private named<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw error instanceof ShapeError ? error.of(this.name) : error;
    }
  }

  private check(type: TensorType | undefined, place: number): void {
    const [name, { rank, dtypes = ["f32"], reads = [], optional = false }] = this.rule(place);
    if (type === undefined) {
      if (optional) return;
      throw new ShapeError(`input "${name}" is missing`);
    }
    const got = `got ${formatType(type)}`;
    if (rank !== undefined && type.shape.length !== rank) throw new ShapeError(`input "${name}" must have ${rank} dimensions, ${got}`);
    if (isInPanels(type) && this.layout !== "any" && !reads.includes("panels")) {
      throw new ShapeError(`input "${name}" must be stored row by row, ${got}`);
    }
    if (columnsOf(type) && !reads.includes("columns")) throw new ShapeError(`input "${name}" must be a tensor of its own, ${got}`);
    if (!dtypes.includes(type.dtype)) throw new ShapeError(`input "${name}" must be ${dtypes.join(" or ")}, ${got}`);
  }

  /** @throws ShapeError for an input that its rule refuses, or from the shape rule */
  infer(inputs: Places<TensorType>, attributes: Attributes): TensorType[] {
    return this.named(() => {
      inputs.forEach((type, place) => this.check(type, place));
      const types = this.kernel.infer(this.byName(inputs), attributes);
      return this.outputNames(attributes).map((name) => types[name]!);
    });
  }

  /** A view has no dispatches: its outputs are input 0's memory. */
  get view(): boolean {
    return this.layout === "view";
  }

  readsPanels(place: number): boolean {
    return this.rule(place)[1].reads?.includes("panels") ?? false;
  }

  /** The place of the input that is added to the result last, if these attributes let one be. */
  addend(attributes: Attributes): number | undefined {
    const name = this.kernel.addend?.(attributes);
    return name === undefined ? undefined : this.rules.findIndex(([input]) => input === name);
  }

  writesColumns(inputs: Places<TensorType>, attributes: Attributes): boolean {
    return this.kernel.writesColumns?.(this.byName(inputs), attributes) ?? false;
  }

  /** The place of the input that an output can be written over. */
  inPlace(output: number, attributes: Attributes): number | undefined {
    const over = this.kernel.inPlace?.[this.outputNames(attributes)[output]!];
    return over === undefined ? undefined : this.rules.findIndex(([input]) => input === over);
  }

  /** How many outputs are written over inputs, where any is. */
  get inPlaceCount(): number {
    return Object.keys(this.kernel.inPlace ?? {}).length;
  }

  sparesOutput(output: number, attributes: Attributes): boolean {
    return this.kernel.sparesOutputs?.includes(this.outputNames(attributes)[output]!) ?? false;
  }

  plan(context: {
    readonly inputs: Places<TensorType>;
    readonly outputs: readonly TensorType[];
    readonly read: readonly boolean[];
    readonly attributes: Attributes;
    readonly capabilities: Capabilities;
    readonly overwrites: boolean;
  }): Plan {
    const { inputs, outputs, read, attributes } = context;
    return this.named(() =>
      this.kernel.plan!({
        ...context,
        inputs: this.byName(inputs),
        outputs: this.outputsByName(outputs, attributes),
        read: this.outputsByName(read, attributes),
      }),
    );
  }

  cost(inputs: Places<TensorType>, outputs: readonly TensorType[], attributes: Attributes): Partial<Cost> {
    return this.kernel.cost?.(this.byName(inputs), this.outputsByName(outputs, attributes), attributes) ?? {};
  }

  get hasGradient(): boolean {
    return this.kernel.gradient !== undefined;
  }

  gradient(
    cotangents: Places<Value>,
    context: {
      readonly g: Recorder;
      readonly inputs: Places<Value>;
      readonly outputs: readonly Value[];
      readonly attributes: Attributes;
      readonly wanted: readonly boolean[];
    },
  ): (Value | undefined)[] {
    const { inputs, outputs, attributes, wanted } = context;
    return this.named(() => {
      const found = this.kernel.gradient!(this.outputsByName(cotangents, attributes), {
        ...context,
        inputs: this.byName(inputs),
        outputs: this.outputsByName(outputs, attributes),
        wanted: this.byName(wanted) as Record<string, boolean>,
      });
      return inputs.map((_, place) => found[this.rule(place)[0]]);
    });
  }

  /** What holds a shader's variable of this name: the input, or the output, that is called so. */
  find<T>(
    variable: string,
    inputs: Places<T>,
    outputs: readonly T[],
    attributes: Attributes,
  ): { readonly value: T | undefined } | undefined {
    const input = inputs.findIndex((_, place) => this.rule(place)[0] === variable);
    if (input >= 0) return { value: inputs[input] };
    const output = this.outputNames(attributes).indexOf(variable);
    return output >= 0 ? { value: outputs[output] } : undefined;
  }
}

const placed = new WeakMap<object, PlacedKernel>();

/** The same for each kernel, whenever it is asked for. */
export function placedKernel<A extends Attributes, In extends string, Out extends string, Optional extends string>(
  kernel: Kernel<A, In, Out, Optional>,
): PlacedKernel {
  const known = placed.get(kernel);
  if (known) return known;
  const made = new PlacedKernel(kernel as unknown as Kernel<Attributes, string, string, string>);
  placed.set(kernel, made);
  return made;
}
