import type { FlashPass } from "./attention-plan.ts";
import { rowsPass } from "./attention-rows.ts";
import { tiledPass } from "./attention-tiled.ts";
import type { Capabilities, Dispatch } from "./kernel.ts";

/** The dispatches of a flash pass in the form for the device: whole rows to a lane on software adapters, tiles on GPUs. */
export function flashPass(pass: FlashPass, capabilities: Capabilities): Dispatch[] {
  return capabilities.software ? rowsPass(pass, capabilities) : tiledPass(pass);
}
