import { BufferUsage } from "./buffer-usage.ts";
import type { Device } from "./device.ts";

const BYTES = 32 * 2 ** 20;
const TIMES = 3;

/** Bytes a second that the device takes from host memory: the best of three writes of 32 MiB, after one that is not counted. */
export async function measureUploadRate(device: Device): Promise<number> {
  const buffer = device.createBuffer(BYTES, BufferUsage.storage, "upload rate");
  const data = new Uint8Array(BYTES);
  let best = 0;
  try {
    for (let i = 0; i <= TIMES; i++) {
      const begun = performance.now();
      device.gpu.queue.writeBuffer(buffer, 0, data);
      await device.settle();
      if (i > 0) best = Math.max(best, (1000 * BYTES) / (performance.now() - begun));
    }
  } finally {
    device.destroyBuffer(buffer);
    device.resetPeak();
  }
  return best;
}
