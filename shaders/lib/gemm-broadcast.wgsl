// A tile of gemm.wgsl through subgroups: a subgroup of LANES lanes owns 16 rows x 4 * LANES columns. Lane i loads the rows i, i + LANES ..
// and broadcasts them, so nothing goes through workgroup memory (measured 4 times faster than a workgroup-memory tile on software adapters,
// where a load costs as much as 60 multiply-adds: at 8 lanes 16 rows are 1.3 times as fast as 8, and 32 compile for 2.5 times as long to
// gain 5% more). Lanes of a subgroup must be neighbouring invocations. Defines: LANES, LANES4 (LANES is 4, else 8).
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
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  var c8 = vec4f(); var c9 = vec4f(); var c10 = vec4f(); var c11 = vec4f();
  var c12 = vec4f(); var c13 = vec4f(); var c14 = vec4f(); var c15 = vec4f();
  let last = params.rows - 1u;
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = readBatch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    let p0 = rowAddress(readBatch, min(row0 + lane, last), tap);
    let p1 = rowAddress(readBatch, min(row0 + lane + ${LANES}u, last), tap);
#if ${LANES4}
    let p2 = rowAddress(readBatch, min(row0 + lane + 8u, last), tap);
    let p3 = rowAddress(readBatch, min(row0 + lane + 12u, last), tap);
#endif
    for (var k = 0u; k < params.k; k += 4u) {
      let a0 = loadA(p0, k);
      let a1 = loadA(p1, k);
      let f = loadBlock(base, k, readColumn);
#if ${LANES4}
      let a2 = loadA(p2, k);
      let a3 = loadA(p3, k);
      c0 = rank4(c0, subgroupBroadcast(a0, 0u), f);
      c1 = rank4(c1, subgroupBroadcast(a0, 1u), f);
      c2 = rank4(c2, subgroupBroadcast(a0, 2u), f);
      c3 = rank4(c3, subgroupBroadcast(a0, 3u), f);
      c4 = rank4(c4, subgroupBroadcast(a1, 0u), f);
      c5 = rank4(c5, subgroupBroadcast(a1, 1u), f);
      c6 = rank4(c6, subgroupBroadcast(a1, 2u), f);
      c7 = rank4(c7, subgroupBroadcast(a1, 3u), f);
      c8 = rank4(c8, subgroupBroadcast(a2, 0u), f);
      c9 = rank4(c9, subgroupBroadcast(a2, 1u), f);
      c10 = rank4(c10, subgroupBroadcast(a2, 2u), f);
      c11 = rank4(c11, subgroupBroadcast(a2, 3u), f);
      c12 = rank4(c12, subgroupBroadcast(a3, 0u), f);
      c13 = rank4(c13, subgroupBroadcast(a3, 1u), f);
      c14 = rank4(c14, subgroupBroadcast(a3, 2u), f);
      c15 = rank4(c15, subgroupBroadcast(a3, 3u), f);
#else
      c0 = rank4(c0, subgroupBroadcast(a0, 0u), f);
      c1 = rank4(c1, subgroupBroadcast(a0, 1u), f);
      c2 = rank4(c2, subgroupBroadcast(a0, 2u), f);
      c3 = rank4(c3, subgroupBroadcast(a0, 3u), f);
      c4 = rank4(c4, subgroupBroadcast(a0, 4u), f);
      c5 = rank4(c5, subgroupBroadcast(a0, 5u), f);
      c6 = rank4(c6, subgroupBroadcast(a0, 6u), f);
      c7 = rank4(c7, subgroupBroadcast(a0, 7u), f);
      c8 = rank4(c8, subgroupBroadcast(a1, 0u), f);
      c9 = rank4(c9, subgroupBroadcast(a1, 1u), f);
      c10 = rank4(c10, subgroupBroadcast(a1, 2u), f);
      c11 = rank4(c11, subgroupBroadcast(a1, 3u), f);
      c12 = rank4(c12, subgroupBroadcast(a1, 4u), f);
      c13 = rank4(c13, subgroupBroadcast(a1, 5u), f);
      c14 = rank4(c14, subgroupBroadcast(a1, 6u), f);
      c15 = rank4(c15, subgroupBroadcast(a1, 7u), f);
#endif
    }
  }
  if (batch >= params.batches) { return; }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(readColumn); }
  // A loop whose end is not known, so that the epilogue is compiled once and not for each of 16 rows:
  // the bundled demo's first run on lavapipe takes 21 s instead of 47, and products are as fast.
  let count = min(16u, params.rows - min(row0, params.rows));
  for (var i = 0u; i < count; i++) {
    var sum = c0;
    switch i {
      case 1u: { sum = c1; }
      case 2u: { sum = c2; }
      case 3u: { sum = c3; }
      case 4u: { sum = c4; }
      case 5u: { sum = c5; }
      case 6u: { sum = c6; }
      case 7u: { sum = c7; }
      case 8u: { sum = c8; }
      case 9u: { sum = c9; }
      case 10u: { sum = c10; }
      case 11u: { sum = c11; }
      case 12u: { sum = c12; }
      case 13u: { sum = c13; }
      case 14u: { sum = c14; }
      case 15u: { sum = c15; }
      default: {}
    }
    store(batch, row0 + i, column, sum, biasHere);
  }
}
