import { ATTACKERS, type AttackState, type Evaluation } from "../../engine/attack/types.ts";
import { FormatError } from "../../engine/formats/errors.ts";
import { openTensorPath } from "../../engine/formats/open.ts";
import { encodeSafetensors } from "../../engine/formats/safetensors-writer.ts";
import { nodeFiles, writeFileAtomic } from "../../engine/platform/node-files.ts";

/** Losses of all iterations so far. */
export interface LossCurve {
  readonly losses: readonly number[];
  /** The timestep of each. */
  readonly timesteps: readonly number[];
}

export interface SavedState {
  readonly state: AttackState;
  readonly curve: LossCurve;
  /** Seconds spent so far, over all runs. */
  readonly seconds: number;
}

const FORM = "lethe attack state 1";

/** Writes where a run stands, whole or not at all. @throws FormatError */
export async function writeState(file: string, { state, curve, seconds }: SavedState): Promise<void> {
  const { simplex, firstMoment, secondMoment, ...rest } = state;
  const row = (data: Float32Array | Int32Array): { dtype: "F32" | "I32"; shape: number[]; data: Float32Array | Int32Array } => ({ dtype: data instanceof Int32Array ? "I32" : "F32", shape: [data.length], data });
  const tensors = { simplex: row(simplex), firstMoment: row(firstMoment), secondMoment: row(secondMoment), losses: row(Float32Array.from(curve.losses)), timesteps: row(Int32Array.from(curve.timesteps)) };
  await writeFileAtomic(file, encodeSafetensors(file, tensors, { form: FORM, seconds: String(seconds), state: JSON.stringify(rest) }));
}

/** Reads what `writeState` wrote. @throws FormatError if the file is damaged or something else */
export async function readState(file: string): Promise<SavedState> {
  const tensors = await openTensorPath(nodeFiles, file);
  try {
    if (tensors.metadata["form"] !== FORM) throw new FormatError(file, "is no state of an attack that this version can go on with");
    const rest = parseRest(file, tensors.metadata["state"]);
    const state: AttackState = { ...rest, simplex: await tensors.readFloat32("simplex"), firstMoment: await tensors.readFloat32("firstMoment"), secondMoment: await tensors.readFloat32("secondMoment") };
    const curve = { losses: [...(await tensors.readFloat32("losses"))], timesteps: [...(await tensors.readInts("timesteps"))] };
    return { state, curve, seconds: Number(tensors.metadata["seconds"]) || 0 };
  } finally {
    await tensors.close();
  }
}

type Rest = Omit<AttackState, "simplex" | "firstMoment" | "secondMoment">;

function parseRest(file: string, text: string | undefined): Rest {
  let value: Partial<Rest> | null;
  try {
    value = JSON.parse(text ?? "") as Partial<Rest> | null;
  } catch (cause) {
    throw new FormatError(file, "its state is not JSON: the file is damaged; start the attack anew", { cause });
  }
  const attacker = ATTACKERS.find((a) => a === value?.attacker);
  const { finished, iteration, evaluations } = value ?? {};
  if (!attacker || !isCount(finished) || !isCount(iteration) || !Array.isArray(evaluations) || !evaluations.every(isEvaluation)) throw new FormatError(file, "its state is incomplete: the file is damaged; start the attack anew");
  return { attacker, finished, iteration, evaluations, random: value?.random };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isEvaluation(value: unknown): value is Evaluation {
  const e = value as Partial<Evaluation> | null;
  return typeof e?.prompt === "string" && Array.isArray(e.ids) && typeof e.timestep === "number" && typeof e.judgement?.success === "boolean";
}
