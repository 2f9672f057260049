// A tile of gemm.wgsl through subgroups: a subgroup of LANES lanes owns 16 rows x 4 * LANES columns. Lane i loads the rows i, i + LANES ..
// and broadcasts them, so nothing goes through workgroup memory (measured 4 times faster than a workgroup-memory tile on software adapters,
// where a load costs as much as 60 multiply-adds: at 8 lanes 16 rows are 1.3 times as fast as 8, and 32 compile for 2.5 times as long to
// gain 5% more). Lanes of a subgroup must be neighbouring invocations. Defines: LANES (4 or 8), LOADS (16 / LANES).
@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let tile = (group.x + group.y * groups.x) * (16u / ${LANES}u) + local / ${LANES}u;
  let at = tilePosition(tile);
  let columnTile = at.x;
  let rowTile = at.y;
  let batch = tile / (params.columnTiles * params.rowTiles);
  // A surplus subgroup computes the last batch's tile again and stores nothing.
  let readBatch = min(batch, params.batches - 1u);
  let row0 = rowTile * 16u;
  let column = (columnTile * ${LANES}u + lane) * 4u;
  let readColumn = min(column, (params.n - 1u) & ~3u);
  let last = params.rows - 1u;
#unroll j < ${LOADS}
#unroll i < ${LANES}
  var c$j_$i = vec4f();
#endunroll
#endunroll
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = readBatch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
#unroll j < ${LOADS}
    let p$j = rowAddress(readBatch, min(row0 + lane + $j * ${LANES}u, last), tap);
#endunroll
    for (var k = 0u; k < params.k; k += 4u) {
#unroll j < ${LOADS}
      let a$j = loadA(p$j, k);
#endunroll
      let f = loadBlock(base, k, readColumn);
#unroll j < ${LOADS}
#unroll i < ${LANES}
      c$j_$i = rank4(c$j_$i, subgroupBroadcast(a$j, $i), f);
#endunroll
#endunroll
    }
  }
  if (batch >= params.batches) { return; }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(readColumn); }
  // A loop whose end is not known, so that the epilogue is compiled once and not for each of 16 rows:
  // the bundled demo's first run on lavapipe takes 21 s instead of 47, and products are as fast.
  let count = min(16u, params.rows - min(row0, params.rows));
  for (var i = 0u; i < count; i++) {
    var sum = vec4f();
    switch i {
#unroll j < ${LOADS}
#unroll i < ${LANES}
      case $j * ${LANES} + $i: { sum = c$j_$i; }
#endunroll
#endunroll
      default: {}
    }
    store(batch, row0 + i, column, sum, biasHere);
  }
}
