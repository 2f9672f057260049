// A tile of gemm.wgsl on matrix units: 8 subgroups of 32 lanes own 128 rows x 128 columns, a subgroup 32 x 64 as 2 x 4 results of 16 x 16 x 16.
// Operands are staged as f16, sums are f32; results go through workgroup memory to the epilogue, one 16 x 16 of each subgroup at a time: 16 KiB in all.
// Needs HALF. Defines: BLOCKS (B is read in blocks of 4 x 4, because it is transposed and in vec4s).
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;
var<workgroup> tileA: array<f16, 2048>; // [row][k]: 128 x 16
var<workgroup> tileB: array<f16, 2048>; // [k][column]: 16 x 128
var<workgroup> staged: array<f32, 2048>; // a result of each subgroup: 8 x 16 x 16

fn putA(to: u32, x: Operand) { tileA[to] = x.x; tileA[to + 1u] = x.y; tileA[to + 2u] = x.z; tileA[to + 3u] = x.w; }
fn putB(to: u32, x: Operand) { tileB[to] = x.x; tileB[to + 1u] = x.y; tileB[to + 2u] = x.z; tileB[to + 3u] = x.w; }

// The epilogue of a subgroup's staged result; a lane takes half a row, 8 columns.
fn finish(batch: u32, row: u32, column: u32, subgroup: u32, lane: u32) {
  let first = subgroup * 256u + lane * 8u;
  let lastColumn = (params.n - 1u) & ~3u;
  for (var i = 0u; i < 8u; i += 4u) {
    let at = column + (lane % 2u) * 8u + i;
    var biasHere = vec4f();
    if (params.hasBias != 0u) { biasHere = loadBias(min(at, lastColumn)); }
    let f = first + i;
    store(batch, row + lane / 2u, at, vec4f(staged[f], staged[f + 1u], staged[f + 2u], staged[f + 3u]), biasHere);
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let tile = group.x + group.y * groups.x;
  let at = tilePosition(tile);
  let batch = tile / (params.columnTiles * params.rowTiles);
  if (batch >= params.batches) { return; }
  let row0 = at.y * 128u;
  let column0 = at.x * 128u;
  let lastRow = params.rows - 1u;
  let lastK = (params.k - 1u) & ~3u;
  let lastColumn = (params.n - 1u) & ~3u;
  let subgroupRow = (subgroup / 2u) * 32u;
  let subgroupColumn = (subgroup % 2u) * 64u;
  var c00: Sum; var c01: Sum; var c02: Sum; var c03: Sum;
  var c10: Sum; var c11: Sum; var c12: Sum; var c13: Sum;
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    let p0 = rowAddress(batch, min(row0 + local / 4u, lastRow), tap);
    let p1 = rowAddress(batch, min(row0 + local / 4u + 64u, lastRow), tap);
    for (var k0 = 0u; k0 < params.k; k0 += 16u) {
      let k = k0 + (local % 4u) * 4u;
      let inside = k < params.k;
      putA(local * 4u, loadA(RowAddress(p0.start, p0.valid && inside), min(k, lastK)));
      putA(local * 4u + 1024u, loadA(RowAddress(p1.start, p1.valid && inside), min(k, lastK)));
#if ${BLOCKS}
      if (local < 128u) {
        let column = (local / 4u) * 4u;
        let f = loadBlock(base, min(k, lastK), min(column0 + column, lastColumn));
        let to = (local % 4u) * 512u + column;
        putB(to, f.x); putB(to + 128u, f.y); putB(to + 256u, f.z); putB(to + 384u, f.w);
      }
#else
      for (var i = local; i < 512u; i += 256u) {
        putB(i * 4u, loadRow(base, min(k0 + i / 32u, params.k - 1u), min(column0 + (i % 32u) * 4u, lastColumn)));
      }
#endif
      workgroupBarrier();
      let a0 = subgroupMatrixLoad<Left, row_major>(&tileA, subgroupRow * 16u, 16u);
      let a1 = subgroupMatrixLoad<Left, row_major>(&tileA, subgroupRow * 16u + 256u, 16u);
      let b0 = subgroupMatrixLoad<Right, row_major>(&tileB, subgroupColumn, 128u);
      let b1 = subgroupMatrixLoad<Right, row_major>(&tileB, subgroupColumn + 16u, 128u);
      let b2 = subgroupMatrixLoad<Right, row_major>(&tileB, subgroupColumn + 32u, 128u);
      let b3 = subgroupMatrixLoad<Right, row_major>(&tileB, subgroupColumn + 48u, 128u);
      c00 = subgroupMatrixMultiplyAccumulate(a0, b0, c00);
      c01 = subgroupMatrixMultiplyAccumulate(a0, b1, c01);
      c02 = subgroupMatrixMultiplyAccumulate(a0, b2, c02);
      c03 = subgroupMatrixMultiplyAccumulate(a0, b3, c03);
      c10 = subgroupMatrixMultiplyAccumulate(a1, b0, c10);
      c11 = subgroupMatrixMultiplyAccumulate(a1, b1, c11);
      c12 = subgroupMatrixMultiplyAccumulate(a1, b2, c12);
      c13 = subgroupMatrixMultiplyAccumulate(a1, b3, c13);
      workgroupBarrier();
    }
  }
  let row = row0 + subgroupRow;
  let column = column0 + subgroupColumn;
  let to = subgroup * 256u;
  for (var part = 0u; part < 8u; part++) {
    switch (part) {
      case 0u: { subgroupMatrixStore<row_major>(&staged, to, c00, 16u); }
      case 1u: { subgroupMatrixStore<row_major>(&staged, to, c01, 16u); }
      case 2u: { subgroupMatrixStore<row_major>(&staged, to, c02, 16u); }
      case 3u: { subgroupMatrixStore<row_major>(&staged, to, c03, 16u); }
      case 4u: { subgroupMatrixStore<row_major>(&staged, to, c10, 16u); }
      case 5u: { subgroupMatrixStore<row_major>(&staged, to, c11, 16u); }
      case 6u: { subgroupMatrixStore<row_major>(&staged, to, c12, 16u); }
      default: { subgroupMatrixStore<row_major>(&staged, to, c13, 16u); }
    }
    workgroupBarrier();
    finish(batch, row + (part / 4u) * 16u, column + (part % 4u) * 16u, subgroup, lane);
    workgroupBarrier();
  }
}
