import { ATTACKERS } from "../attack/attackers.ts";
import type { AttackState } from "../attack/session/state.ts";
import type { Evaluation } from "../attack/session/evaluation.ts";
import { FormatError } from "../formats/errors.ts";
import { encodeSafetensors } from "../formats/safetensors-writer.ts";
import type { TensorFile } from "../formats/tensor-file.ts";

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

/** A state file's bytes: safetensors, the numbers as tensors and the rest as JSON in its metadata. @param file for errors */
export function encodeState(file: string, { state, curve, seconds }: SavedState): Uint8Array<ArrayBuffer> {
  const { simplex, firstMoment, secondMoment, ...rest } = state;
  const row = (data: Float32Array | Int32Array): { dtype: "F32" | "I32"; shape: number[]; data: Float32Array | Int32Array } => ({
    dtype: data instanceof Int32Array ? "I32" : "F32",
    shape: [data.length],
    data,
  });
  const tensors = {
    simplex: row(simplex),
    firstMoment: row(firstMoment),
    secondMoment: row(secondMoment),
    losses: row(Float32Array.from(curve.losses)),
    timesteps: row(Int32Array.from(curve.timesteps)),
  };
  return encodeSafetensors(file, tensors, { form: FORM, seconds: String(seconds), state: JSON.stringify(rest) });
}

/** What `encodeState` wrote. @throws FormatError if the file is damaged or something else */
export async function decodeState(file: string, tensors: TensorFile): Promise<SavedState> {
  if (tensors.metadata["form"] !== FORM) throw new FormatError(file, "is not a state of an attack that this version can go on with");
  const rest = parseRest(file, tensors.metadata["state"]);
  const state: AttackState = {
    ...rest,
    simplex: await tensors.readFloat32("simplex"),
    firstMoment: await tensors.readFloat32("firstMoment"),
    secondMoment: await tensors.readFloat32("secondMoment"),
  };
  const curve = { losses: [...(await tensors.readFloat32("losses"))], timesteps: [...(await tensors.readInts("timesteps"))] };
  return { state, curve, seconds: Number(tensors.metadata["seconds"]) || 0 };
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
  if (!attacker || !isCount(finished) || !isCount(iteration) || !Array.isArray(evaluations) || !evaluations.every(isEvaluation))
    throw new FormatError(file, "its state is incomplete: the file is damaged; start the attack anew");
  return {
    attacker,
    finished,
    iteration,
    evaluations,
    random: value?.random,
    ...(value?.search !== undefined && { search: value.search }),
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isEvaluation(value: unknown): value is Evaluation {
  const e = value as Partial<Evaluation> | null;
  return (
    typeof e?.prompt === "string" && Array.isArray(e.ids) && typeof e.timestep === "number" && typeof e.judgement?.success === "boolean"
  );
}
