// Gradient of softmax from its result: dx = y * (dy - sum(dy * y)) over each row of [rows, width].
// Bindings: dy, y, dx: Packs.
// Defines: SUBGROUPS, LANES and WORKGROUP of lib/row.wgsl, whose text is ROW; PACKS, the text of lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
#if ${SUBGROUPS}
enable subgroups;
#endif
${PACKS}
${ROW}

// width: Packs in a row
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> dy: array<Pack>;
@group(0) @binding(1) var<storage, read> y: array<Pack>;
@group(0) @binding(2) var<storage, read_write> dx: array<Pack>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = local % LANES;
  let index = (workgroup.x + workgroup.y * workgroups.x) * ROWS_PER_WORKGROUP + local / LANES;
  let live = index < params.rows;
  let row = min(index, params.rows - 1u);
  let base = row * params.width;
  var sum = Pack();
  for (var i = lane; i < params.width; i += LANES) {
    sum += dy[base + i] * y[base + i];
  }
  let dot = rowSum(packSum(sum), lane);
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      dx[base + i] = y[base + i] * (dy[base + i] - dot);
    }
  }
}
