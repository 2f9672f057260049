import { type OpenJudge, createJudge } from "../../engine/attack/judges/open.ts";
import { readAll } from "../../engine/formats/byte-source.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { loadClassifier } from "../../engine/vision/image-classifier.ts";
import { loadStableDiffusion } from "../../engine/loading/load.ts";
import type { StableDiffusionPipeline } from "../../engine/diffusion/pipeline.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { describeChoice } from "../../engine/runtime/choice/kernel-table.ts";
import type { Choice, DeviceReport, JudgeRequest } from "../protocol.ts";
import { SHOWN_LIMITS } from "../../engine/run/text/format.ts";
import { VERSION } from "../../engine/run/version.ts";
import type { Library } from "./files/library.ts";

/** A name for the prompts that were typed for the judge "diffusion", for errors. */
const TYPED_PROMPTS = "judge-prompts.txt";

/** The device, and the model and judge on it. There is one of each: another choice takes the place of the one before. */
export class Session {
  private opened: Promise<Device> | undefined;
  private loaded: { readonly key: string; readonly model: StableDiffusionPipeline; readonly paths: readonly string[] } | undefined;
  /** The model before unlearning, where an attack needs it as well. */
  private before: StableDiffusionPipeline | undefined;
  private judging: { readonly open: OpenJudge; readonly paths: readonly string[] } | undefined;

  /** @param onLost told when the device is lost; the next use opens another one */
  constructor(private readonly library: Library, private readonly onLost: (message: string) => void) {}

  /** @throws NoAdapterError */
  device(): Promise<Device> {
    if (!this.opened) {
      const opening = openDevice();
      this.opened = opening;
      opening.then(
        (device) => device.lost.then((error) => {
          if (this.opened === opening) this.forget();
          this.onLost(error.message);
        }),
        () => (this.opened = undefined),
      );
    }
    return this.opened;
  }

  /** What is on a lost device is gone with it. */
  private forget(): void {
    this.opened = this.loaded = this.before = this.judging = undefined;
  }

  async report(): Promise<DeviceReport> {
    const { description, features, limits, info, capabilities, kernels } = await this.device();
    return {
      version: VERSION,
      description,
      software: info.software,
      features,
      limits: Object.fromEntries(SHOWN_LIMITS.map((name) => [name, limits[name]])),
      subgroupSize: capabilities.subgroupSize,
      kernels: describeChoice(kernels),
    };
  }

  /** The chosen model; its weights are read when they are first needed. @throws FormatError, InputError, NoAdapterError */
  async model(choice: Choice): Promise<StableDiffusionPipeline> {
    const key = JSON.stringify([choice.model, choice.overlay, choice.weights]);
    if (this.loaded?.key === key) return this.loaded.model;
    await this.unload();
    this.library.watch();
    const model = await this.load(choice);
    this.loaded = { key, model, paths: this.library.used() };
    return model;
  }

  /** The chosen model without what is laid over it, beside the loaded one until `release`. @throws as `model` */
  async original(choice: Choice): Promise<StableDiffusionPipeline> {
    this.before ??= await this.load({ ...choice, overlay: null });
    return this.before;
  }

  private async load({ model, overlay: over, weights }: Choice): Promise<StableDiffusionPipeline> {
    const overlay = over === null ? undefined : await this.library.entry(over);
    return loadStableDiffusion(
      await this.device(),
      { files: this.library.files, folder: model, clipMerges: () => this.clipMerges() },
      { weights, ...(overlay && { [overlay.part]: overlay.id }) },
    );
  }

  /** Paths of the files that the loaded model was made of. */
  get modelPaths(): readonly string[] {
    return this.loaded?.paths ?? [];
  }

  get judgePaths(): readonly string[] {
    return this.judging?.paths ?? [];
  }

  /** Bytes of CLIP's own list of merges. */
  async clipMerges(): Promise<Uint8Array<ArrayBuffer>> {
    return readAll(await this.library.files.open("clip/bpe_simple_vocab_16e6.txt.gz"));
  }

  /** What a classifier can say. @throws FormatError, InputError */
  async labels(classifier: string): Promise<readonly string[]> {
    const opened = await loadClassifier(await this.device(), { files: this.library.files, folder: classifier });
    const { labels } = opened;
    await opened.destroy();
    return labels;
  }

  /**
   * Opens the judge of a run, in place of the one before.
   * @param choice whose model without overlay the judge "diffusion" compares with
   * @throws UsageError for options that do not fit; InputError for a label that the classifier does not have; FormatError
   */
  async judge({ name, choice: options }: JudgeRequest, choice: Choice): Promise<OpenJudge> {
    await this.release();
    const device = await this.device();
    this.library.watch();
    const typed =
      name === "diffusion" && options.prompts !== undefined
        ? {
            files: memoryFiles({ [TYPED_PROMPTS]: new TextEncoder().encode(options.prompts) }),
            prompts: TYPED_PROMPTS,
            original: await this.original(choice),
          }
        : undefined;
    const open = await createJudge(name, device, { files: this.library.files, ...options, ...typed });
    this.judging = { open, paths: this.library.used() };
    return open;
  }

  /** Frees the judge and the model before unlearning. */
  async release(): Promise<void> {
    const { judging, before } = this;
    this.judging = this.before = undefined;
    await judging?.open.destroy();
    await before?.destroy();
  }

  /** Frees the model's memory on the device. */
  async unload(): Promise<void> {
    await this.release();
    const before = this.loaded;
    this.loaded = undefined;
    await before?.model.destroy();
  }
}
