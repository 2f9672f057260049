import type { Value } from "../../kernels/kernel.ts";
import { InputError } from "../runtime/errors.ts";
import type { Device, DeviceUsage } from "../runtime/device.ts";
import { Graph } from "../runtime/graph.ts";
import { type HostArray, Program } from "../runtime/program.ts";
import type { FileSystem } from "../formats/file-system.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { type LoadOptions, loadStableDiffusion } from "../loading/load.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import { StableDiffusion, type StableDiffusionParts } from "../diffusion/stable-diffusion.ts";
import type { Golden } from "./golden.ts";
import type { Rows } from "./rows.ts";

export interface VerifySources {
  readonly files: FileSystem;
  /** Opened when a form first needs it. */
  readonly device: () => Promise<Device>;
  /** Folder of the model that references with a model are compared with. */
  readonly model?: string | undefined;
  /** CLIP's merge list, for models without a tokenizer of their own. */
  readonly clipMerges?: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
  /** CLIP's own tokenizer, for references made with it. */
  readonly clipTokenizer?: (() => Promise<Tokenizer>) | undefined;
  /** How the model's weights are stored on the device. Default "f32". */
  readonly weights?: WeightPrecision | undefined;
}

/** What the forms share: the device, the model and variants of it, each opened once. */
export class VerifyContext {
  private readonly programs = new Map<string, Program>();
  private opened: Device | undefined;
  private modelTakesPart = false;
  private readonly models = new Map<string, Promise<StableDiffusion>>();
  private readonly retokenized = new Map<StableDiffusion, Map<string, StableDiffusion>>();

  constructor(readonly sources: VerifySources) {}

  get files(): FileSystem {
    return this.sources.files;
  }

  async device(): Promise<Device> {
    return (this.opened ??= await this.sources.device());
  }

  /** Whether a device that rounds operands of products to f16 takes part. */
  get halfPrecision(): boolean {
    return this.opened?.halfPrecision ?? false;
  }

  /** Whether a model whose weights were rounded to f16 takes part in the reference at hand. */
  get halfWeights(): boolean {
    return this.modelTakesPart && this.sources.weights === "f16";
  }

  /** Called before each reference. */
  begin(): void {
    this.modelTakesPart = false;
    this.opened?.resetPeak();
  }

  /** What the device has been used for, once there is one. */
  get usage(): DeviceUsage | undefined {
    return this.opened?.usage;
  }

  get modelFolder(): string {
    if (this.sources.model === undefined) throw new InputError("this reference needs the model it was made with: give --model");
    return this.sources.model;
  }

  /** The model, or a variant of it under a name of its own. @throws InputError if there is none; what loading throws. */
  model(variant = "", options: LoadOptions = {}): Promise<StableDiffusion> {
    this.modelTakesPart = true;
    let loaded = this.models.get(variant);
    if (!loaded) {
      const { files, modelFolder: folder } = this;
      loaded = this.device().then((device) =>
        loadStableDiffusion(device, { files, folder }, { partial: true, weights: this.sources.weights, ...options }),
      );
      this.models.set(variant, loaded);
    }
    return loaded;
  }

  /** The model in a folder, opened once. @throws what loading throws */
  modelIn(folder: string): Promise<StableDiffusion> {
    this.modelTakesPart = true;
    const key = `folder ${folder}`;
    let loaded = this.models.get(key);
    if (!loaded) {
      const options = { partial: true, weights: this.sources.weights };
      loaded = this.device().then((device) => loadStableDiffusion(device, { files: this.files, folder }, options));
      this.models.set(key, loaded);
    }
    return loaded;
  }

  /** Opens the model for one piece of work and frees it again: of a large one there is room for one set of weights at a time. */
  async withModel(work: (model: StableDiffusion) => Promise<void>): Promise<void> {
    this.modelTakesPart = true;
    const { files, modelFolder: folder } = this;
    const { weights, clipMerges } = this.sources;
    const model = await loadStableDiffusion(await this.device(), { files, folder, clipMerges }, { partial: true, weights });
    try {
      await work(model);
    } finally {
      await model.destroy();
    }
  }

  /** A model with another tokenizer, made once for its key; the two share their weights. */
  withTokenizer(model: StableDiffusion, key: string, tokenizer: Tokenizer): StableDiffusion {
    const made = this.retokenized.get(model) ?? new Map<string, StableDiffusion>();
    this.retokenized.set(model, made);
    let changed = made.get(key);
    if (!changed) {
      // Descriptors, since a part that the model lacks is a getter that throws.
      const parts = Object.defineProperties(
        {},
        { ...Object.getOwnPropertyDescriptors(model.parts), tokenizer: { value: tokenizer, enumerable: true } },
      );
      made.set(key, (changed = new StableDiffusion(parts as StableDiffusionParts)));
    }
    return changed;
  }

  /**
   * Runs a graph without weights; every input is f32 or u32 as its data is.
   * @param key says what `build` records, so that inputs of the same shapes share one program
   */
  async run(
    key: string,
    inputs: Readonly<Record<string, { readonly data: HostArray; readonly shape: readonly number[] }>>,
    build: (g: Graph, v: Readonly<Record<string, Value>>) => Readonly<Record<string, Value>>,
  ): Promise<Record<string, HostArray>> {
    const full = `${key} ${Object.entries(inputs).map(([name, { shape }]) => `${name} ${shape.join("x")}`).join()}`;
    let program = this.programs.get(full);
    if (!program) {
      const graph = new Graph();
      const values: Record<string, Value> = {};
      for (const [name, { data, shape }] of Object.entries(inputs)) {
        values[name] = graph.input(name, { shape, dtype: data instanceof Uint32Array ? "u32" : "f32" });
      }
      program = await Program.create(await this.device(), graph, { outputs: build(graph, values), label: key });
      this.programs.set(full, program);
    }
    const used = program;
    // An input that no output depends on is not part of the program.
    await used.run(Object.fromEntries(Object.entries(inputs).flatMap(([name, { data }]) => (used.hasInput(name) ? [[name, data]] : []))));
    return used.read();
  }

  /** Frees the programs of `run`; those of one reference file are of little use to the next. */
  forgetPrograms(): void {
    for (const program of this.programs.values()) program.destroy();
    this.programs.clear();
  }

  async destroy(): Promise<void> {
    this.forgetPrograms();
    for (const made of this.retokenized.values()) for (const model of made.values()) await model.destroy();
    this.retokenized.clear();
    for (const model of await Promise.allSettled(this.models.values())) if (model.status === "fulfilled") await model.value.destroy();
    this.models.clear();
  }
}

/** Checks one reference file and adds its rows. */
export type Form = (golden: Golden, rows: Rows, context: VerifyContext) => Promise<void>;
