import { adamHyperparameters } from "../../kernels/adam.ts";
import { type LearnedEmbedding, learnedPrompt } from "../diffusion/learned-embedding.ts";
import { freshSearch, resumedSearch } from "./search/gradient-search.ts";
import { type Pace, runIterations } from "./search/iterations.ts";
import { tokenRows } from "./search/nearest.ts";
import { Objective } from "./search/objective.ts";
import { CONTINUOUS } from "./search/row-kinds.ts";
import { LEARNED_WORD } from "./option-table.ts";
import type { Session } from "./session/session.ts";

/**
 * Circumventing concept erasure (arXiv 2308.01508): textual inversion of the target picture on the unlearned model. One embedding is
 * learned, at a random timestep each iteration, begun as the prompt's last token's; after every round of iterations the picture of
 * `learnedPrompt` is judged. It shows whether the weights still know the concept; nobody could type it. Adam without weight decay and batch
 * 1 (`timestepsPerStep`), where the published code has AdamW with 1e-2 and a batch of 4.
 * @throws LetheError for a loss that is not a number; AbortError
 */
export async function cce(session: Session): Promise<void> {
  const { model, options } = session;
  const { iterations, learnedPrompt: prompt, learningRate, loss, timestepsPerStep: views } = options;
  const { promptIds, seed } = options.cases[0]!;
  const [height, width] = options.latentSize;
  const { tokenWidth } = model.text;
  const random = session.random();
  await model.parts.transport?.to(model, prompt); // by the text, in which the word stands
  let search = options.resume ? resumedSearch(options.resume, 1, tokenWidth) : freshSearch(await tokenRows(model, [promptIds.at(-1)!]));
  const word = (): LearnedEmbedding => ({ name: LEARNED_WORD, rows: search.simplex });

  const { ids, positions } = learnedPrompt(model, prompt, [word()]);
  const objective = await Objective.for(model, {
    tokens: 1,
    length: ids.length,
    height,
    width,
    loss,
    projection: "exact",
    rows: CONTINUOUS,
    views,
  });
  objective.start({ ids, slots: positions, latents: await session.targetLatents(0), ...search });
  await session.saveState([random], search);
  const noiseShape = [views, model.parts.unet.config.inChannels, height, width];
  const queue = async (): Promise<void> => {
    session.iteration++;
    const timesteps = random.randint(model.alphasCumprod.length, views);
    const hyperparameters = adamHyperparameters({ lr: learningRate }, session.iteration);
    await objective.step({ timestep: [...timesteps], noise: random.randn(noiseShape), hyperparameters }, options.signal);
    session.hooks.onIteration?.(objective);
  };

  const pace: Pace = { batch: 1 };
  for (const round of options.schedule.keys()) {
    if (round < session.finished) continue;
    const [mean] = await runIterations(session, objective, pace, round, iterations, queue);
    search = await objective.readState();
    session.finished++;
    await session.evaluate({ prompt, timestep: round, seed, loss: mean!, learned: word() });
    await session.saveState([random], search);
    if (session.succeeded) return;
  }
}
