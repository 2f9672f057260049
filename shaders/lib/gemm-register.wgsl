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
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  let last = params.rows - 1u;
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    let p0 = rowAddress(batch, row0, tap);
    let p1 = rowAddress(batch, min(row0 + 1u, last), tap);
    let p2 = rowAddress(batch, min(row0 + 2u, last), tap);
    let p3 = rowAddress(batch, min(row0 + 3u, last), tap);
    for (var k = 0u; k < params.k; k += 4u) {
      let f = loadBlock(base, k, column);
      c0 = rank4(c0, loadA(p0, k), f);
      c1 = rank4(c1, loadA(p1, k), f);
      c2 = rank4(c2, loadA(p2, k), f);
      c3 = rank4(c3, loadA(p3, k), f);
    }
  }
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(column); }
  store(batch, row0, column, c0, biasHere);
  store(batch, row0 + 1u, column, c1, biasHere);
  store(batch, row0 + 2u, column, c2, biasHere);
  store(batch, row0 + 3u, column, c3, biasHere);
}
