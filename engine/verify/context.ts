import { InputError } from "../runtime/errors.ts";
import type { Device, DeviceUsage } from "../runtime/device.ts";
import type { Program } from "../runtime/program.ts";
import type { FileSystem } from "../formats/file-system.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { ProgramCache, type Recording } from "../nn/program-cache.ts";
import { type LoadOptions, loadStableDiffusion } from "../loading/load.ts";
import type { WeightPrecision } from "../nn/weight-layout.ts";
import { StableDiffusion, type StableDiffusionParts } from "../diffusion/stable-diffusion.ts";

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
  private programs: ProgramCache | undefined;
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
    return this.opensOnce(variant, this.modelFolder, options);
  }

  /** The model in a folder. @throws what loading throws */
  modelIn(folder: string): Promise<StableDiffusion> {
    return this.opensOnce(`folder ${folder}`, folder);
  }

  private opensOnce(key: string, folder: string, options: LoadOptions = {}): Promise<StableDiffusion> {
    this.modelTakesPart = true;
    const { files, weights } = this.sources;
    let loaded = this.models.get(key);
    if (!loaded) {
      loaded = this.device().then((device) => loadStableDiffusion(device, { files, folder }, { partial: true, weights, ...options }));
      this.models.set(key, loaded);
    }
    return loaded;
  }

  /** Opens the model for one piece of work and frees it again: of a large one there is room for one set of weights at a time. */
  async withModel(work: (model: StableDiffusion) => Promise<void>): Promise<void> {
    this.modelTakesPart = true;
    const { files, weights, clipMerges } = this.sources;
    const source = { files, folder: this.modelFolder, clipMerges };
    const model = await loadStableDiffusion(await this.device(), source, { partial: true, weights });
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

  /** A program without weights, made once for its key. */
  async program(key: string, record: Recording): Promise<Program> {
    this.programs ??= new ProgramCache(await this.device(), []);
    return this.programs.get(key, record);
  }

  /** Frees the programs without weights; those of one reference file are of little use to the next. */
  async forgetPrograms(): Promise<void> {
    await this.programs?.destroy();
  }

  async destroy(): Promise<void> {
    await this.forgetPrograms();
    for (const made of this.retokenized.values()) for (const model of made.values()) await model.destroy();
    this.retokenized.clear();
    for (const model of await Promise.allSettled(this.models.values())) if (model.status === "fulfilled") await model.value.destroy();
    this.models.clear();
  }
}
