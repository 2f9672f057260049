import { classifierJudge } from "../../engine/attack/judge.ts";
import type { Judge } from "../../engine/attack/types.ts";
import { readAll } from "../../engine/formats/byte-source.ts";
import { type ImageClassifier, loadClassifier } from "../../engine/models/image-classifier.ts";
import { loadStableDiffusion } from "../../engine/models/load.ts";
import type { StableDiffusion } from "../../engine/models/stable-diffusion.ts";
import { type Device, openDevice } from "../../engine/runtime/device.ts";
import { describeChoice } from "../../engine/runtime/kernel-choice.ts";
import type { Choice, DeviceReport } from "../protocol.ts";
import type { Library } from "./library.ts";

const SHOWN_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "maxComputeWorkgroupStorageSize", "maxComputeInvocationsPerWorkgroup", "maxComputeWorkgroupsPerDimension"] as const;

/** The device, and the model and judge on it. There is one of each: another choice takes the place of the one before. */
export class Session {
  private opened: Promise<Device> | undefined;
  private loaded: { readonly key: string; readonly model: StableDiffusion; readonly paths: readonly string[] } | undefined;
  private judging: { readonly id: string; readonly classifier: ImageClassifier; readonly paths: readonly string[] } | undefined;

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
    this.opened = this.loaded = this.judging = undefined;
  }

  async report(): Promise<DeviceReport> {
    const { description, features, limits, info, capabilities, kernels } = await this.device();
    return { description, software: info.software, features, limits: Object.fromEntries(SHOWN_LIMITS.map((name) => [name, limits[name]])), subgroupSize: capabilities.subgroupSize, kernels: describeChoice(kernels) };
  }

  /** The chosen model; its weights are read when they are first needed. @throws FormatError, InputError, NoAdapterError */
  async model(choice: Choice): Promise<StableDiffusion> {
    const key = JSON.stringify([choice.model, choice.overlay, choice.weights]);
    if (this.loaded?.key === key) return this.loaded.model;
    const device = await this.device();
    await this.unload();
    const overlay = choice.overlay === null ? undefined : await this.library.entry(choice.overlay);
    const { files } = this.library;
    this.library.watch();
    const model = await loadStableDiffusion(
      device,
      { files, folder: choice.model, clipMerges: () => this.clipMerges() },
      { weights: choice.weights, ...(overlay && { [overlay.part]: overlay.id }) },
    );
    this.loaded = { key, model, paths: this.library.used() };
    return model;
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

  async classifier(id: string): Promise<ImageClassifier> {
    if (this.judging?.id === id) return this.judging.classifier;
    const device = await this.device();
    await this.judging?.classifier.destroy();
    this.judging = undefined;
    this.library.watch();
    const classifier = await loadClassifier(device, { files: this.library.files, folder: id });
    this.judging = { id, classifier, paths: this.library.used() };
    return classifier;
  }

  /** @throws InputError for a label that the classifier does not have */
  async judge(id: string, label: string): Promise<Judge> {
    return classifierJudge(await this.classifier(id), label);
  }

  /** Frees the model's memory on the device. */
  async unload(): Promise<void> {
    const before = this.loaded;
    this.loaded = undefined;
    await before?.model.destroy();
  }
}
