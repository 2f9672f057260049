// y = exp(x - max) / sum(exp(x - max)) over each row of [rows, width]. Maximum and sum are found in one reading (online softmax).
// Bindings: x, y: Packs.
// Defines: SUBGROUPS, LANES and WORKGROUP of lib/row.wgsl, whose text is ROW; PACKS, the text of lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
#if ${SUBGROUPS}
enable subgroups;
#endif
${PACKS}
${ROW}

// width: Packs in a row
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;
@group(0) @binding(2) var<uniform> params: Params;

const LOWEST = -3.4028234e38;
// exp of this is 0 in float32; it keeps differences with LOWEST from becoming infinite.
const NOTHING = -120.0;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % LANES;
  let index = (workgroup.x + workgroup.y * workgroups.x) * ROWS_PER_WORKGROUP + local / LANES;
  let live = index < params.rows;
  let row = min(index, params.rows - 1u);
  let base = row * params.width;
  var top = LOWEST;
  var sum = 0.0;
  for (var i = lane; i < params.width; i += LANES) {
    let v = x[base + i];
    let next = max(top, packMax(v));
    sum = sum * exp(max(top - next, NOTHING)) + packSum(exp(max(v - next, Pack(NOTHING))));
    top = next;
  }
  let rowTop = rowMax(top, lane);
  let total = rowSum(sum * exp(max(top - rowTop, NOTHING)), lane);
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      y[base + i] = exp(max(x[base + i] - rowTop, Pack(NOTHING))) / total;
    }
  }
}
