import { StableDiffusionPipeline } from "../../../diffusion/pipeline.ts";
import { FormatError } from "../../../formats/errors.ts";
import { isObject, joinPath } from "../../../formats/file-system.ts";
import type { NDArray } from "../../../nn/array.ts";
import type { Tokenizer } from "../../../../tokenizer/index.ts";
import { Check } from "../../check.ts";
import { part } from "../../layout.ts";
import type { Numbers } from "../../rows.ts";
import { decimalTokenizer } from "../attack/decimal-tokenizer.ts";

/** One recorded run of an erasing method under check, with the model that it began with. */
export class Trace extends Check {
  private constructor(
    check: Check,
    /** Reads prompts of decimal ids. */
    readonly model: StableDiffusionPipeline,
    readonly tokenizer: Tokenizer,
    /** The run's case. */
    readonly name: string,
  ) {
    super(check.golden, check.rows, check.context);
  }

  /** @throws FormatError for a JSON that lacks what all of them have, or whose model is not there */
  static async open(check: Check): Promise<Trace> {
    const { golden, context } = check;
    const plain = await context.modelIn(await modelFolder(check));
    const { bos, eos_and_pad: eos } = golden.object("token_ids");
    if (typeof bos !== "number" || typeof eos !== "number") throw new FormatError(golden.path, `"token_ids" must hold bos and eos_and_pad`);
    const { vocabularySize, maxLength } = plain.parts.textEncoder.config;
    const tokenizer = decimalTokenizer({ bosId: bos, eosId: eos, length: maxLength }, vocabularySize);
    const { parts } = context.withTokenizer(plain, `decimal ${bos} ${eos}`, tokenizer);
    const name = golden.cases[0]?.name ?? golden.name;
    await check.compare(name, "empty_ids", tokenizer.encode(""), 0, { key: "empty_ids", optional: true });
    return new Trace(check, new StableDiffusionPipeline(parts), tokenizer, name);
  }

  /** The tolerance of a quantity. @throws FormatError if the JSON has none */
  toleranceOf(quantity: string): number {
    return this.golden.number(quantity, this.golden.object("tolerance"));
  }

  /** How far float32 and float64 were apart; 0 where the JSON does not say. */
  floorOf(quantity: string): number {
    const floor = this.golden.json["floor"];
    const value = isObject(floor) ? floor[quantity] : undefined;
    return typeof value === "number" ? value : 0;
  }

  /** Norm that a gradient may have which is mathematically zero. */
  get zeroTolerance(): number {
    return Math.max(1e-5, 10 * this.floorOf("zero_grad_abs"));
  }

  /** Compares with the tensor of this name. @param quantity whose tolerance it has */
  async compareWhole(tensor: string, actual: Numbers | NDArray, quantity = tensor): Promise<void> {
    await this.compare(this.name, tensor, actual, this.toleranceOf(quantity), { key: tensor });
  }

  /** Compares with a row of a tensor. @param quantity whose tolerance it has */
  async compareRow(tensor: string, index: number, actual: Numbers | NDArray, quantity = tensor): Promise<void> {
    const numbers = "shape" in actual ? actual.data : actual;
    const { data } = part(await this.golden.array(tensor), index);
    this.rows.compare(this.name, `${tensor}[${index}]`, numbers, data, this.toleranceOf(quantity));
  }

  /** Settings that every training of a component by noised pictures states. */
  get trainingOptions() {
    const { golden } = this;
    return {
      steps: golden.number("steps"),
      learningRate: golden.number("lr"),
      weightDecay: golden.number("weight_decay", golden.object("optimizer")),
      batch: golden.number("batch_size"),
    };
  }

  /** Framed ids of prompts [.., length] as decimal prompts. */
  async prompts(tensor: string): Promise<string[]> {
    const ids = await this.golden.ints(tensor);
    const length = this.golden.shape(tensor).at(-1)!;
    return Array.from({ length: ids.length / length }, (_, row) => {
      const framed = [...ids.subarray(row * length, (row + 1) * length)];
      const end = framed.indexOf(this.tokenizer.eosId, 1);
      return framed.slice(1, end < 0 ? framed.length : end).join(" ");
    });
  }

  /** The numbers of each row of a tensor, or of each of its first so many dimensions. */
  async noises(tensor: string, dimensions = 1): Promise<Float32Array<ArrayBuffer>[]> {
    const { data, shape } = await this.golden.array(tensor);
    const count = shape.slice(0, dimensions).reduce((a, b) => a * b, 1);
    const size = data.length / count;
    return Array.from({ length: count }, (_, i) => data.slice(i * size, (i + 1) * size));
  }
}

/** The pipeline's folder lies beside the golden's own, or in it; else it is the model that was given. */
export async function modelFolder({ golden, context }: Check): Promise<string> {
  const name = golden.text("model");
  const { folder } = golden;
  for (const candidate of [joinPath(folder.slice(0, Math.max(0, folder.lastIndexOf("/"))), name), joinPath(folder, name)]) {
    if ((await context.files.kind(joinPath(candidate, "model_index.json"))) === "file") return candidate;
  }
  return context.modelFolder;
}

/** Batch number `index` of [batches, B, ...]. */
export function batchOf(all: NDArray, index: number): NDArray {
  const { data, shape } = part(all, index);
  return { data, shape: shape.slice(1) };
}
