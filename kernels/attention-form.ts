import passWgsl from "../shaders/lib/attention-pass.wgsl";
import walk from "../shaders/lib/attention-walk.wgsl";
import mergeWgsl from "../shaders/attention-merge.wgsl";
import type { FlashPass } from "./attention-plan.ts";
import { MATRIX_SOURCES, type MatrixForm, matrixBlock, matrixPass } from "./attention-matrix.ts";
import { ROWS_SOURCES, rowsPass } from "./attention-rows.ts";
import { TILED_SOURCES, tiledPass } from "./attention-tiled.ts";
import { ATTENTION_FORMS, type AttentionForm, attentionClass } from "./attention-table.ts";
import type { Capabilities, Dispatch } from "./kernel.ts";

/** All that a measured choice depends on: with another text it is measured again. */
export function attentionSources(): string[] {
  return [...ROWS_SOURCES, ...TILED_SOURCES, ...MATRIX_SOURCES, passWgsl, walk, mergeWgsl];
}

/**
 * The form for a device that nothing was measured on: broadcasting between lanes was measured to pay on software adapters, where a lane is
 * an element of a CPU vector.
 */
export function defaultForm({ software }: Capabilities): AttentionForm {
  return software ? "rows" : "tiled-8";
}

/** Whether a form takes f16 operands: it computes on matrix units. */
export function takesHalf(form: AttentionForm): form is MatrixForm {
  return form.startsWith("matrix");
}

/** Every form a device can run, the plain one first. */
export function formsFor(capabilities: Capabilities): AttentionForm[] {
  return ATTENTION_FORMS.filter((form) => !takesHalf(form) || matrixBlock(form, "forward", 10, capabilities) !== undefined);
}

/** The dispatches of a flash pass, in the form that the device was found to be fastest with. */
export function flashPass(pass: FlashPass, capabilities: Capabilities): Dispatch[] {
  const { batch, heads, queries, keys, head } = pass.sizes;
  const form = capabilities.attention?.[attentionClass(pass.name, batch * heads * queries * keys * head)] ?? defaultForm(capabilities);
  if (form === "rows") return rowsPass(pass, capabilities);
  if (!takesHalf(form)) return tiledPass(pass, form);
  return matrixPass(pass, form, capabilities) ?? tiledPass(pass, "tiled-8");
}
