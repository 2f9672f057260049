// A tile of gemm.wgsl in registers alone: a thread owns 4 rows x 4 columns, a workgroup COLUMN_THREADS of them in a row: 32 x 32, or 256
// rows x 4 columns.
// Needs no feature and no workgroup memory; the plain variant that the others are compared with. Defines: COLUMN_THREADS (8 or 1).
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let tile = group.x + group.y * groups.x;
  let at = tilePosition(tile);
  let columnTile = at.x;
  let rowTile = at.y;
  let batch = tile / (params.columnTiles * params.rowTiles);
  let row0 = (rowTile * (64u / ${COLUMN_THREADS}u) + local / ${COLUMN_THREADS}u) * 4u;
  let column = (columnTile * ${COLUMN_THREADS}u + local % ${COLUMN_THREADS}u) * 4u;
  if (batch >= params.batches || row0 >= params.rows || column >= params.n) { return; }
  let last = params.rows - 1u;
#unroll i < 4
  var c$i = vec4f();
#endunroll
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
#unroll i < 4
    let p$i = rowAddress(batch, min(row0 + $i, last), tap);
#endunroll
    for (var k = 0u; k < params.k; k += 4u) {
      let f = loadBlock(base, k, column);
#unroll i < 4
      c$i = rank4(c$i, loadA(p$i, k), f);
#endunroll
    }
  }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(column); }
#unroll i < 4
  store(batch, row0 + $i, column, c$i, biasHere);
#endunroll
}
