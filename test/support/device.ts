import { test } from "uvu";
import { exitWhenFlushed } from "../../engine/platform/exit.ts";
import type { Device } from "../../engine/runtime/device.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import { NoAdapterError } from "../../engine/runtime/errors.ts";

let opened: Promise<Device> | undefined;
let half: Promise<Device | undefined> | undefined;

/**
 * The one device of this test file, opened at the first call: the adapter named by LETHE_ADAPTER (default: the best
 * there is), with the limits named by LETHE_LIMITS ("default" or "adapter").
 * @throws NoAdapterError; a machine without an adapter fails the tests, it does not skip them.
 */
export function testDevice(): Promise<Device> {
  opened ??= openDevice({
    ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }),
    limits: process.env.LETHE_LIMITS === "default" ? "default" : "adapter",
  }).then((device) => {
    console.log(
      `adapter: ${device.description}; limits: ${device.limits.maxStorageBuffersPerShaderStage} storage buffers of ` +
        `${device.limits.maxStorageBufferBindingSize / 2 ** 20} MiB`,
    );
    return device;
  });
  return opened;
}

/** The same adapter with operands of products rounded to f16; undefined, saying so, where it has no shader-f16. */
export function halfDevice(): Promise<Device | undefined> {
  half ??= openDevice({ ...(process.env.LETHE_ADAPTER && { adapter: process.env.LETHE_ADAPTER }), math: "f16", kernels: "default" }).catch(
    (error: unknown) => {
      if (!(error instanceof NoAdapterError) || !error.message.includes("shader-f16")) throw error;
      console.log(`${error.message}: not run`);
      return undefined;
    },
  );
  return half;
}

/**
 * Last line of a test file whose tests are made with uvu's own `test`: runs them, fails if the device reported errors nobody asked for,
 * destroys the device and ends the process, which Dawn could otherwise keep alive.
 */
export function finish(): void {
  let run = 0;
  test.before.each(() => void run++);
  test("the device reported no stray errors", async () => {
    if (run < 2) throw new Error('no other test ran: make them with `import { test } from "uvu"`, not with suite()');
    const device = await opened;
    await device?.settle();
    await (await half)?.settle();
  });
  test.after(async () => {
    for (const device of [opened, half]) (await device?.catch(() => undefined))?.destroy();
  });
  test.run();
  // uvu sets the exit code as the last thing it does, after writing its totals.
  const timer = setInterval(() => {
    if (process.exitCode === undefined) return;
    clearInterval(timer);
    void exitWhenFlushed(Number(process.exitCode));
  }, 5);
}
