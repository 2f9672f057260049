// Index of the largest element of each row of [rows, width]; of several equal ones the lowest.
// Bindings: x: f32; y: one u32 per row.
// Defines: ROW, the text of lib/row.wgsl, with its defines.
${ROW}

struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = row * params.width;
  // A lane without elements of its own looks at the last one.
  var best = min(lane, params.width - 1u);
  var bestValue = x[base + best];
  for (var i = lane + LANES; i < params.width; i += LANES) {
    let v = x[base + i];
    if (v > bestValue) {
      best = i;
      bestValue = v;
    }
  }
  let top = rowMax(bestValue, lane);
  // Indices below 2^24 are exact as f32, so the lowest one is found by the same reduction.
  let lowest = -rowMax(select(-f32(params.width - 1u), -f32(best), bestValue == top), lane);
  if (live && lane == 0u) { y[row] = u32(lowest); }
}
