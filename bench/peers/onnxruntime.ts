import { errorMessage } from "../../engine/runtime/errors.ts";
import type { OpShape } from "../ops/cases.ts";
import { type OpData, opInputs, outputShape } from "../ops/record.ts";
import { onnxModels } from "./onnx-models.ts";
import { type OnnxModel, writeOnnx } from "./onnx-writer.ts";
import { type Peer, type PeerRun, channelsFirst, channelsLast } from "./peer.ts";

/** The little of onnxruntime-node that is used. */
interface OrtTensor {
  readonly data: Float32Array;
}
interface Session {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly InferenceSession: { create(model: Uint8Array, options: Readonly<Record<string, unknown>>): Promise<Session> };
  readonly Tensor: new (type: "float32", data: Float32Array, shape: readonly number[]) => OrtTensor;
}

const PROVIDERS = [
  {
    name: "ort-webgpu",
    provider: "webgpu",
    webgpu: true,
    note: "with upload of the activations and download of the result: its Node API has no tensors on the device",
  },
  { name: "ort-cpu", provider: "cpu", webgpu: false, note: "native CPU kernels, not WebGPU" },
] as const;

/** onnxruntime on its own WebGPU provider and on its CPU provider. It has no gradients. @throws Error if neither starts */
export async function loadOnnxRuntime(require: (name: string) => unknown, version: string): Promise<readonly Peer[]> {
  const ort = require("onnxruntime-node") as Ort;
  const peers: Peer[] = [];
  const problems: string[] = [];
  for (const { name, provider, webgpu, note } of PROVIDERS) {
    try {
      const probe = await open(ort, provider, onnxModels({ op: "softmax", rows: 4, width: 4 }, undefined)[0]!.model);
      await probe.release();
    } catch (error) {
      problems.push(`${name}: ${errorMessage(error)}`);
      continue;
    }
    peers.push({
      name,
      version,
      webgpu,
      gradients: false,
      async prepare(shape, _direction, data) {
        const runs: PeerRun[] = [];
        for (const { variant, model: made } of onnxModels(shape, data)) {
          runs.push(await prepare(ort, provider, `${name}${variant && ` (${variant})`}`, note, made, shape, data));
        }
        return runs;
      },
    });
  }
  if (peers.length === 0) throw new Error(problems.join("; "));
  return peers;
}

function open(ort: Ort, provider: string, made: OnnxModel): Promise<Session> {
  return ort.InferenceSession.create(writeOnnx(made), {
    executionProviders: [provider],
    logSeverityLevel: 3,
    extra: {
      session: {
        // Its threads would go on spinning after a run, and their time would count as that of whoever runs next.
        intra_op: { allow_spinning: "0" },
        inter_op: { allow_spinning: "0" },
        // What the provider cannot do is to be an error, not a silent detour over the CPU.
        ...(provider !== "cpu" && { disable_cpu_ep_fallback: "1" }),
      },
    },
  });
}

async function prepare(
  ort: Ort,
  provider: string,
  name: string,
  note: string,
  made: OnnxModel,
  shape: OpShape,
  data: OpData,
): Promise<PeerRun> {
  const session = await open(ort, provider, made);
  const feeds = Object.fromEntries(
    Object.entries(made.inputs).map(([input, dims]) => [
      input,
      new ort.Tensor("float32", channelsFirst(shape, data.inputs[input]!, opInputs(shape)[input]!.shape).data, dims),
    ]),
  );
  let last: OrtTensor | undefined;
  return {
    name,
    note,
    async run(count) {
      for (let i = 0; i < count; i++) last = (await session.run(feeds))["y"];
    },
    read: () => Promise.resolve(channelsLast(shape, new Float32Array(last!.data), outputShape(shape))),
    destroy: () => session.release(),
  };
}
