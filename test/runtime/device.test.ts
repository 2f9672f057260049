import { test } from "uvu";
import * as assert from "uvu/assert";
import { untar } from "../../engine/platform/swiftshader.ts";
import { openDevice } from "../../engine/platform/open-device.ts";
import {
  DeviceLostError,
  GpuError,
  InputError,
  LetheError,
  NoAdapterError,
  ShaderCompileError,
  UsageError,
} from "../../engine/runtime/errors.ts";
import { finish, testDevice } from "../support/device.ts";

const USAGE = { storage: 0x80, copyDestination: 0x8, copySource: 0x4, map: 0x1 };

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => assert.unreachable("expected an error"),
    (error: unknown) => error,
  );
}

function exitStatus(Kind: new (message: string) => LetheError): number {
  return new Kind("x").exitCode;
}

/** A regular file of a ustar archive. */
function tarEntry(name: string, body: string): Uint8Array {
  const block = new Uint8Array(512 + Math.ceil(body.length / 512) * 512);
  const put = (text: string, at: number): void => block.set(new TextEncoder().encode(text), at);
  put(name, 0);
  put(`${body.length.toString(8).padStart(11, "0")}\0`, 124);
  put("0", 156);
  put(body, 512);
  return block;
}

test("each error has the exit status of its kind", () => {
  assert.equal(
    [LetheError, UsageError, InputError, NoAdapterError, DeviceLostError, GpuError, ShaderCompileError].map(exitStatus),
    [1, 2, 2, 3, 1, 1, 1],
  );
  assert.is(`${new GpuError("why")}`, "GpuError: why");
});

test("the device says what it is and what it can do", async () => {
  const device = await testDevice();
  assert.ok(device.description.startsWith(device.info.name));
  assert.is(device.description.endsWith(", software"), device.info.software);
  const { capabilities, info } = device;
  if (device.features.includes("subgroups") && info.subgroupMinSize === info.subgroupMaxSize) {
    assert.is(capabilities.subgroupSize, info.subgroupMinSize);
  } else assert.is(capabilities.subgroupSize, 0);
  assert.is(capabilities.shaderF16, false, "shader-f16 is only taken when asked for");
  assert.is(capabilities.maxStorageBufferBindingSize, device.gpu.limits.maxStorageBufferBindingSize);
  assert.ok(capabilities.maxStorageBufferBindingSize >= 128 * 2 ** 20);
});

test("buffers are counted, with their peak", async () => {
  const device = await testDevice();
  const before = device.usage.allocatedBytes;
  device.resetPeak();
  const a = device.createBuffer(1024, USAGE.storage, "a");
  const b = device.createBuffer(4096, USAGE.storage, "b");
  device.destroyBuffer(a);
  device.destroyBuffer(a);
  const { allocatedBytes, peakBytes } = device.usage;
  assert.equal({ allocatedBytes, peakBytes }, { allocatedBytes: before + 4096, peakBytes: before + 5120 });
  device.resetPeak();
  assert.is(device.usage.peakBytes, before + 4096);
  device.destroyBuffer(b);
  assert.is(device.usage.allocatedBytes, before);
  assert.throws(
    () => device.createBuffer(device.limits.maxBufferSize + 4, USAGE.storage, "huge"),
    /buffer "huge" of \d+ bytes is larger than the device's maxBufferSize/,
  );
});

test("an error scope turns validation errors into GpuError and passes results and exceptions on", async () => {
  const device = await testDevice();
  assert.is(await device.withErrorScope("fine", () => 7), 7);
  assert.is(await device.withErrorScope("fine", async () => 8), 8);
  const bad = await rejection(
    device.withErrorScope("bad usage", () => device.gpu.createBuffer({ size: 16, usage: USAGE.map | USAGE.storage })),
  );
  assert.instance(bad, GpuError);
  assert.match((bad as Error).message, /^bad usage: validation error: /);
  const own = await rejection(
    device.withErrorScope("own", () => {
      throw new RangeError("mine");
    }),
  );
  assert.instance(own, RangeError);
  device.check();
});

test("two scopes open at a time keep their errors apart", async () => {
  const device = await testDevice();
  const good = device.withErrorScope("good", async () => {
    await device.gpu.queue.onSubmittedWorkDone();
    return "good";
  });
  const bad = rejection(device.withErrorScope("bad", () => device.gpu.createBuffer({ size: 16, usage: 0 })));
  assert.is(await good, "good");
  assert.match(((await bad) as Error).message, /^bad: /);
});

test("uncaptured errors come out at the next check, once", async () => {
  const device = await testDevice();
  device.gpu.createBuffer({ label: "misused", size: 16, usage: USAGE.map | USAGE.storage });
  const error = await rejection(device.settle());
  assert.instance(error, GpuError);
  assert.match((error as Error).message, /the device reported an error: /);
  device.check();
});

test("a shader that does not compile shows where, with its source", async () => {
  const device = await testDevice();
  const text = "// computes nothing\n@compute @workgroup_size(1) fn main() {\n  let x = undefinedName;\n}\n";
  const error = await rejection(
    device.pipelines.get({ shader: { name: "broken", text }, defines: {}, bindings: {}, params: {}, workgroups: [1, 1, 1] }),
  );
  assert.instance(error, ShaderCompileError);
  assert.match((error as Error).message, /error at 3:11: .*undefinedName/);
  assert.match((error as Error).message, /> 3 \| {3}let x = undefinedName;/);
  await device.gpu.queue.onSubmittedWorkDone();
  assert.throws(() => device.check(), /undefinedName/); // Dawn also reports the invalid module
});

test("default limits can be asked for, and f16 arithmetic where the adapter has it", async () => {
  const adapter = (await testDevice()).info.name;
  const plain = await openDevice({ adapter, limits: "default", math: "auto" });
  assert.equal(
    [
      plain.limits.maxStorageBufferBindingSize,
      plain.limits.maxBufferSize,
      plain.limits.maxStorageBuffersPerShaderStage,
      plain.limits.maxComputeInvocationsPerWorkgroup,
      plain.limits.maxComputeWorkgroupStorageSize,
    ],
    [128 * 2 ** 20, 256 * 2 ** 20, 8, 256, 16384],
  );
  assert.is(plain.capabilities.shaderF16, plain.features.includes("shader-f16"));
  assert.is(plain.capabilities.subgroupSize, (await testDevice()).capabilities.subgroupSize);
  if (!plain.capabilities.shaderF16) {
    assert.match(((await rejection(openDevice({ adapter, math: "f16" }))) as Error).message, /no shader-f16 feature/);
  }
  plain.destroy();
});

test("an unknown adapter is refused with the list of those there are", async () => {
  const { info } = await testDevice();
  const error = await rejection(openDevice({ adapter: "No Such Card 9000" }));
  assert.instance(error, NoAdapterError);
  assert.match((error as Error).message, /no adapter matches "No Such Card 9000"; available:/);
  assert.ok((error as Error).message.includes(info.name), (error as Error).message);
});

test("a GPU object that offers no adapter is refused", async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  assert.instance(await rejection(openDevice({ gpu })), NoAdapterError);
});

test("after destroy nothing counts as allocated and the end is not a loss", async () => {
  const device = await openDevice({ adapter: (await testDevice()).info.name });
  device.createBuffer(64, USAGE.storage, "left over");
  device.destroy();
  await device.gpu.lost;
  device.check();
  assert.is(device.usage.allocatedBytes, 0);
});

test("a lost device is an error of its own kind", async () => {
  const device = await openDevice({ adapter: (await testDevice()).info.name });
  device.gpu.destroy(); // behind the wrapper's back, as a driver would
  const loss = await device.lost;
  assert.instance(loss, DeviceLostError);
  assert.throws(() => device.check(), (e: unknown) => e === loss);
  const buffer = device.gpu.createBuffer({ size: 16, usage: USAGE.map | USAGE.copyDestination });
  assert.is(await rejection(device.orLost(buffer.mapAsync(1))), loss);
});

test("the tar reader finds files by base name and refuses a cut archive", () => {
  const tar = Buffer.concat([tarEntry("folder/a.txt", "x".repeat(700)), tarEntry("b", ""), tarEntry("c", "last"), new Uint8Array(1024)]);
  const files = untar(tar);
  assert.equal([...files].map(([name, bytes]) => [name, bytes.length]), [["a.txt", 700], ["b", 0], ["c", 4]]);
  assert.is(new TextDecoder().decode(files.get("c")), "last");
  assert.throws(() => untar(tar.subarray(0, 900)), /"folder\/a.txt" at byte 0 is cut short/);
});

finish();
