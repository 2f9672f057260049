import { replay } from "./replay.ts";
import type { Trace } from "./trace.ts";

/** `advunlearn`: training of the text encoder with its inner attack. */
export async function advunlearn(trace: Trace): Promise<void> {
  const { golden, rows, name } = trace;
  const [decimal] = await trace.prompts("prompt_ids");
  const words = golden.number("words_in_prompt");
  // As many words as the prompt had: what is over stands in the last one.
  const ids = decimal!.split(" ");
  const prompt = [...ids.slice(0, words - 1), ids.slice(words - 1).join("+")].join(" ");
  rows.compare(name, "tokens_in_prompt", [ids.length], [golden.number("tokens_in_prompt")], 0, "mismatches");
  const attackSteps = golden.number("attack_step");
  const warmup = golden.number("warmup_iter");
  const separate = golden.text("retain_train") === "iter";
  const k = golden.number("adv_prompt_num");
  const perStep = (tensor: string, tolerance = tensor.replace(".", "_")) => ({ tensor, tolerance, inRow: attackSteps });
  const fast = golden.text("attack_method") === "fast_at";
  const updates = golden.list("optimizer_steps");
  await checkIds(trace, ids.map(Number), words, k);
  // Where both text encoders are still the same, what is retained is off by rounding alone.
  const first = separate ? undefined : Math.max(1e-9, 10 * trace.floorOf("retain_loss_first_abs"));
  await replay(trace, {
    options: {
      method: "advunlearn", recipe: "advunlearn-2024",
      concepts: [prompt],
      retain: await trace.prompts("retain_ids"),
      steps: golden.number("iterations"),
      learningRate: golden.number("lr"),
      guidance: golden.number("start_guidance"),
      negativeGuidance: golden.number("negative_guidance"),
      samplingSteps: golden.number("ddim_steps"),
      attack: fast ? "fast" : "pgd",
      attackSteps,
      attackLearningRate: golden.number("attack_lr"),
      attackTokens: k,
      attackInit: golden.text("attack_init") as "latest" | "random",
      attackWarmup: warmup,
      retainMode: separate ? "iter" : "reg",
      retainWeight: golden.number("retain_loss_w"),
      retainBatch: golden.number("retain_batch"),
    },
    draws: {
      t_enc: await golden.ints("t_enc"), t: await golden.ints("t"), start: await trace.noises("start"),
      "attack.t_enc": await golden.ints("attack.t_enc"), "attack.t": await golden.ints("attack.t"),
      "attack.start": await trace.noises("attack.start", 2), "attack.init_ids": await golden.ints("attack.init_ids"),
      retain_index: await golden.ints("retain_index"),
      retain_start: await trace.noises("retain_start"),
      ...(separate && { retain_t_enc: await golden.ints("retain_t_enc"), retain_t: await golden.ints("retain_t") }),
    },
    observed: {
      z: "z", target: "target",
      eps_0: { tensor: "eps_0", tolerance: "target" }, eps_p: { tensor: "eps_p", tolerance: "target" },
      prediction: { tensor: "eps_n", tolerance: "unlearn_loss" },
      retain_z: "retain_z", retain_eps_p: { tensor: "retain_eps_p", tolerance: "target" },
      retained: { tensor: "retain_eps_n", tolerance: "retain_loss" },
      "attack.init": { tensor: "attack.init", tolerance: "attack_init" },
      "attack.used": { tensor: "attack.used", tolerance: "attack_used" },
      "attack.z": perStep("attack.z"), "attack.loss": perStep("attack.loss"), "attack.grad": perStep("attack.grad"),
      "attack.grad_used": perStep("attack.grad_used", fast ? "attack_grad" : "attack_grad_used"), "attack.adv": perStep("attack.adv"),
    },
    losses: { unlearn: "unlearn_loss", retain: { tensor: "retain_loss", tolerance: "retain_loss", first } },
  });
  rows.compare(name, "optimizer_steps", [updates.length], [(separate ? 2 : 1) * golden.number("iterations")], 0, "mismatches");
}

/** The prompt's ids with places for k embeddings behind begin, in each attack. */
async function checkIds(trace: Trace, ids: readonly number[], words: number, k: number): Promise<void> {
  const { golden, name, tokenizer } = trace;
  const framed = [...tokenizer.frame(ids)];
  const replaced = framed.slice(1 + words, 1 + words + k);
  const expected = [...framed.slice(0, 1), ...replaced, ...framed.slice(1, 1 + words), ...framed.slice(1 + words + k)];
  const attacks = golden.shape("attack.ids").reduce((a, b) => a * b, 1) / framed.length;
  await trace.compare(name, "attack.ids", Array.from({ length: attacks }, () => expected).flat(), 0, { key: "attack.ids" });
}
