import { loadStableDiffusion } from "../engine/loading/load.ts";
import type { WeightPrecision } from "../engine/nn/weight-layout.ts";
import { modelSource } from "../engine/platform/model-source-node.ts";
import { openDevice } from "../engine/platform/open-device.ts";
import { Graph } from "../engine/runtime/graph.ts";

export interface LoadTime {
  readonly model: string;
  readonly adapter: string;
  readonly weights: WeightPrecision;
  /** From opening the files until the device has every weight; of the process's time, the driver's threads included. */
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** The most that the process held besides what device buffers count, which on a software adapter lie in its memory too. */
  readonly hostPeakBytes: number;
  /** The most that JavaScript's heap and arrays took. */
  readonly arraysPeakBytes: number;
  readonly deviceBytes: number;
  /** What the process held before: Node and the driver. */
  readonly baseBytes: number;
}

/** How often memory is looked at, besides after each tensor. */
const SAMPLE_MS = 5;

/**
 * Loads every weight that generating and attacking need: text encoder, UNet, VAE both ways.
 * @param model a path, as of --model
 * @throws FormatError, InputError; NoAdapterError
 */
export async function measureLoad(
  model: string,
  options: { readonly adapter?: string; readonly weights?: WeightPrecision } = {},
): Promise<LoadTime> {
  const { adapter, weights = "f32" } = options;
  const device = await openDevice(adapter === undefined ? {} : { adapter });
  const before = process.memoryUsage().rss; // Node and the driver
  let hostPeakBytes = 0;
  let arraysPeakBytes = 0;
  const look = (): void => {
    const { rss, heapUsed, external } = process.memoryUsage();
    hostPeakBytes = Math.max(hostPeakBytes, device.info.software ? rss - device.usage.allocatedBytes : rss);
    arraysPeakBytes = Math.max(arraysPeakBytes, heapUsed + external);
  };
  const timer = setInterval(look, SAMPLE_MS);
  const [started, cpu] = [performance.now(), process.cpuUsage()];
  try {
    const opened = await loadStableDiffusion(device, modelSource(model), { weights, partial: true });
    const { textEncoder, unet, vae } = opened.parts;
    const g = new Graph();
    const input = (name: string, shape: readonly number[]): ReturnType<Graph["input"]> => g.input(name, { shape, dtype: "f32" });
    const text = opened.recordTextEncoder(
      g,
      opened.recordEmbeddings(g, g.input("ids", { shape: [1, textEncoder.config.maxLength], dtype: "u32" })),
    );
    opened.recordUNet(g, input("sample", [1, 8, 8, 4]), input("features", [1, unet.config.blockOutChannels[0]!]), text);
    opened.recordDecoder(g, input("latents", [1, 8, 8, 4]));
    opened.recordEncoder(g, input("image", [1, 8 * vae.config.factor, 8 * vae.config.factor, 3]));
    for (const part of [textEncoder, unet, vae]) await part.parameters.load(undefined, look);
    await device.settle();
    look();
    const { user, system } = process.cpuUsage(cpu);
    const seconds = (performance.now() - started) / 1000;
    const result = {
      model,
      adapter: device.description,
      weights,
      seconds,
      cpuSeconds: (user + system) / 1e6,
      hostPeakBytes,
      arraysPeakBytes,
      deviceBytes: device.usage.allocatedBytes,
      baseBytes: before,
    };
    await opened.destroy();
    return result;
  } finally {
    clearInterval(timer);
    device.destroy();
  }
}
