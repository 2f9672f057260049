// A stored weight [taps, inputs, outputs] from row by row to panels of 32 outputs, [taps, outputs / 32, inputs, 32], or back. One thread
// per vec4.
// Bindings: x, y: count vec4s each. Defines: PANELS (y is in panels, x row by row; otherwise the other way round).
// Params in vec4s: columns of a row.
${POINTWISE}

struct Params { count: u32, inputs: u32, columns: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

const PANEL = 8u; // vec4s

fn element(row: u32) {
  let column = row % params.columns;
  let input = (row / params.columns) % params.inputs;
  let tap = row / (params.columns * params.inputs);
  let panelled = tap * params.columns * params.inputs + (column / PANEL * params.inputs + input) * PANEL + column % PANEL;
#if ${PANELS}
  y[panelled] = x[row];
#else
  y[row] = x[panelled];
#endif
}
