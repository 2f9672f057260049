import { notFinite } from "../../diffusion/finite.ts";
import { KEPT_LOSSES } from "./iteration-program.ts";
import type { Objective } from "./objective.ts";
import type { Session } from "../session/session.ts";
import type { SlotToken } from "./simplex.ts";
import { insertsTokens } from "../attackers.ts";

/** Losses are asked for about this often; up to two such batches are queued at once, so the device never waits for the host. */
const BATCH_MILLISECONDS = 400;

/** What is read of a batch of iterations. */
interface Batch {
  readonly losses: Promise<Float32Array[]>;
  readonly slots: Promise<SlotToken[][]> | undefined;
}

/** Iterations whose losses are read together; follows the device's speed. */
export interface Pace {
  batch: number;
}

/**
 * Queues the iterations of one timestep, reports their losses (of several searches the least) and returns the mean of each search.
 * @throws LetheError for a loss that is not a number; AbortError
 */
export async function runIterations(
  session: Session,
  objective: Objective,
  pace: Pace,
  timestep: number,
  iterations: number,
  queue: () => Promise<void>,
): Promise<number[]> {
  const { signal, attacker, watchSlots = false } = session.options;
  const watched = watchSlots && insertsTokens(attacker);
  const first = session.iteration;
  let queued = 0;
  let reported = 0;
  let sums: number[] = [];
  let waiting: Batch | undefined;
  let since = performance.now();
  const report = async (pending: Batch): Promise<void> => {
    const searches = await pending.losses;
    const losses = Array.from(searches[0]!, (_, i) => Math.min(...searches.map((s) => s[i]!)));
    const bad = losses.findIndex((x) => !Number.isFinite(x)); // the least of numbers of which one is NaN is NaN
    if (bad >= 0) {
      throw notFinite(session.model.device, `the loss of iteration ${first + reported + bad + 1} at timestep ${timestep}`, losses[bad]!);
    }
    await session.emit({ type: "losses", timestep, iteration: first + reported, losses });
    reported += losses.length;
    sums = searches.map((s, r) => s.reduce((sum, x) => sum + x, sums[r] ?? 0));
    if (pending.slots) await session.emit({ type: "slots", slots: await pending.slots });
    const now = performance.now();
    pace.batch = Math.min(KEPT_LOSSES, Math.max(1, Math.round((losses.length * BATCH_MILLISECONDS) / (now - since))));
    since = now;
  };
  while (queued < iterations) {
    signal?.throwIfAborted();
    const count = Math.min(pace.batch, iterations - queued);
    for (let i = 0; i < count; i++) await queue();
    queued += count;
    // Both reads are queued behind the batch, in front of the next one: nothing waits for them.
    const next = { losses: objective.allLosses(count), slots: watched ? objective.slots() : undefined };
    for (const read of [next.losses, next.slots]) read?.catch(() => undefined); // awaited in its turn, unless the batch before it fails
    if (waiting) await report(waiting);
    waiting = next;
  }
  if (waiting) await report(waiting);
  return sums.map((sum) => sum / iterations);
}
