// A tile of gemm.wgsl on matrix units: SUBGROUP_ROWS x SUBGROUP_COLUMNS subgroups of LANES lanes, 128 lanes in all, each owning 4 x 4 (2 x
// 2 without FOUR) results of M x N, which products of M x K by K x N add up to. STEP (32 or 64) of k at a time are staged as COMPONENT (f16
// or f32), in rows padded by 8, which lie in different banks; sums are f32. The results go through workgroup memory to the epilogue, two of
// each subgroup at a time. On an H100, among forms with f16 operands, four subgroups of 64 x 64 gave 232 TFLOP/s, eight of 32 x 64 123;
// unpadded rows and a step of 16 halve either.
// Other defines: LOADS_A4, LOADS_A8, LOADS_B4, LOADS_B8: a lane stages four or eight vec4s of A or B (else two); BLOCKS: B is transposed
// and in vec4s, and staged as it lies; WHOLE: see gemm.wgsl; FLAGS: the dialect whose loads take a flag for columns and arrays of scalars
// alone; MULTIPLY: its name of a product; SPLIT: several workgroups share the steps of a tile.
alias Left = subgroup_matrix_left<${COMPONENT}, ${K}, ${M}>; // columns, rows
alias Right = subgroup_matrix_right<${COMPONENT}, ${N}, ${K}>;
alias Sum = subgroup_matrix_result<f32, ${N}, ${M}>;
const LANES = ${LANES}u;
const SUBGROUP_COLUMNS = ${SUBGROUP_COLUMNS}u;
const SUBGROUPS = ${SUBGROUP_ROWS}u * SUBGROUP_COLUMNS;
const THREADS = SUBGROUPS * LANES;
const M = ${M}u;
const N = ${N}u;
const K = ${K}u;
#if ${FOUR}
const FRAGMENTS = 4u;
#else
const FRAGMENTS = 2u;
#endif
const OWN_ROWS = FRAGMENTS * M; // of a subgroup
const OWN_COLUMNS = FRAGMENTS * N;
const TILE_ROWS = OWN_ROWS * ${SUBGROUP_ROWS}u;
const TILE_COLUMNS = OWN_COLUMNS * SUBGROUP_COLUMNS;
const STEP = ${STEP}u;
const PER_ROW = STEP / 4u; // lanes that stage the k of one row
const ROW_A = STEP + 8u; // components from one row of a staged operand to the next
#if ${BLOCKS}
const ROW_B = STEP + 8u; // [column][k]
const SIZE_B = TILE_COLUMNS * ROW_B;
#else
const ROW_B = TILE_COLUMNS + 8u; // [k][column]
const SIZE_B = STEP * ROW_B;
#endif
const STAGED_ROW = 2u * N; // a strip of two results of a subgroup: [row][column]
#if ${FLAGS}
var<workgroup> tileA: array<${COMPONENT}, TILE_ROWS * ROW_A>;
var<workgroup> tileB: array<${COMPONENT}, SIZE_B>;
var<workgroup> staged: array<f32, SUBGROUPS * M * STAGED_ROW>;
fn putA(to: u32, x: Operand) { tileA[to] = x.x; tileA[to + 1u] = x.y; tileA[to + 2u] = x.z; tileA[to + 3u] = x.w; }
fn putB(to: u32, x: Operand) { tileB[to] = x.x; tileB[to + 1u] = x.y; tileB[to + 2u] = x.z; tileB[to + 3u] = x.w; }
fn stagedAt(begin: u32) -> vec4f { return vec4f(staged[begin], staged[begin + 1u], staged[begin + 2u], staged[begin + 3u]); }
fn left(begin: u32) -> Left { return subgroupMatrixLoad<Left>(&tileA, begin, false, ROW_A); }
#if ${BLOCKS}
fn right(begin: u32) -> Right { return subgroupMatrixLoad<Right>(&tileB, begin, true, ROW_B); }
#else
fn right(begin: u32) -> Right { return subgroupMatrixLoad<Right>(&tileB, begin, false, ROW_B); }
#endif
fn stage(to: u32, sum: Sum) { subgroupMatrixStore(&staged, to, sum, false, STAGED_ROW); }
#else
var<workgroup> tileA: array<Operand, TILE_ROWS * ROW_A / 4u>;
var<workgroup> tileB: array<Operand, SIZE_B / 4u>;
var<workgroup> staged: array<vec4f, SUBGROUPS * M * STAGED_ROW / 4u>;
fn putA(to: u32, x: Operand) { tileA[to / 4u] = x; }
fn putB(to: u32, x: Operand) { tileB[to / 4u] = x; }
fn stagedAt(begin: u32) -> vec4f { return staged[begin / 4u]; }
fn left(begin: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&tileA, begin / 4u, ROW_A / 4u); }
#if ${BLOCKS}
fn right(begin: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&tileB, begin / 4u, ROW_B / 4u); }
#else
fn right(begin: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&tileB, begin / 4u, ROW_B / 4u); }
#endif
fn stage(to: u32, sum: Sum) { subgroupMatrixStore<row_major>(&staged, to / 4u, sum, STAGED_ROW / 4u); }
#endif

// The i-th vec4 of B's part of a step, and where it goes.
#if ${BLOCKS}
fn loadStagedB(base: u32, k0: u32, column0: u32, i: u32) -> Operand {
  let k = min(k0 + (i % PER_ROW) * 4u, (params.k - 1u) & ~3u);
  let column = min(column0 + i / PER_ROW, params.n - 1u);
#if ${PANELS}
  return loadB4(base + (k & ~31u) * params.n + column * 32u + (k & 31u));
#else
  return loadB4(base + column * params.k + k);
#endif
}
fn putStagedB(i: u32, x: Operand) { putB((i / PER_ROW) * ROW_B + (i % PER_ROW) * 4u, x); }
#else
const VECTORS = TILE_COLUMNS / 4u;
fn loadStagedB(base: u32, k0: u32, column0: u32, i: u32) -> Operand {
  return loadRow(base, min(k0 + i / VECTORS, params.k - 1u), min(column0 + (i % VECTORS) * 4u, (params.n - 1u) & ~3u));
}
fn putStagedB(i: u32, x: Operand) { putB((i / VECTORS) * ROW_B + (i % VECTORS) * 4u, x); }
#endif

// The epilogue of a subgroup's staged strip.
fn finish(at: Place, row: u32, column: u32, begin: u32, lane: u32) {
  for (var i = lane; i < M * STAGED_ROW / 4u; i += LANES) {
    let here = column + (i % (STAGED_ROW / 4u)) * 4u;
    storeSum(at, row + i / (STAGED_ROW / 4u), here, stagedAt(begin + i * 4u), biasAt(here));
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let at = tileOf(group.x + group.y * groups.x);
  let batch = at.batch;
  if (batch >= params.batches) { return; }
  let row0 = at.row * TILE_ROWS;
  let column0 = at.column * TILE_COLUMNS;
  let lastRow = params.rows - 1u;
  let lastK = (params.k - 1u) & ~3u;
  let ownRow = (subgroup / SUBGROUP_COLUMNS) * OWN_ROWS;
  let ownColumn = (subgroup % SUBGROUP_COLUMNS) * OWN_COLUMNS;
  let stepsPerTap = (params.k + STEP - 1u) / STEP;
#if ${SPLIT}
  let first = at.split * params.stepsPerSplit;
  let end = min(first + params.stepsPerSplit, params.taps * stepsPerTap);
#else
  let first = 0u;
  let end = params.taps * stepsPerTap;
#endif
  // Eight lanes take the k of one row, THREADS / 8 rows at a time.
  let stagedRow = row0 + local / PER_ROW;
  let toA = (local / PER_ROW) * ROW_A + (local % PER_ROW) * 4u;
  const APART = THREADS / PER_ROW;
#if ${WHOLE}
#if ${BLOCKS}
#else
  let columnB = min(column0 + (local % VECTORS) * 4u, (params.n - 1u) & ~3u);
#endif
#endif
  var tap = 0xffffffffu;
  var base = 0u;
  var p0: RowAddress; var p1: RowAddress;
#if ${LOADS_A4}
  var p2: RowAddress; var p3: RowAddress;
#endif
#if ${LOADS_A8}
  var p4: RowAddress; var p5: RowAddress; var p6: RowAddress; var p7: RowAddress;
#endif
  var c00: Sum; var c01: Sum; var c10: Sum; var c11: Sum;
#if ${FOUR}
  var c02: Sum; var c03: Sum; var c12: Sum; var c13: Sum;
  var c20: Sum; var c21: Sum; var c22: Sum; var c23: Sum;
  var c30: Sum; var c31: Sum; var c32: Sum; var c33: Sum;
#endif
  for (var step = first; step < end; step++) {
    if (step / stepsPerTap != tap) {
      tap = step / stepsPerTap;
      base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
      p0 = rowAddress(batch, min(stagedRow, lastRow), tap);
      p1 = rowAddress(batch, min(stagedRow + APART, lastRow), tap);
#if ${LOADS_A4}
      p2 = rowAddress(batch, min(stagedRow + APART * 2u, lastRow), tap);
      p3 = rowAddress(batch, min(stagedRow + APART * 3u, lastRow), tap);
#endif
#if ${LOADS_A8}
      p4 = rowAddress(batch, min(stagedRow + APART * 4u, lastRow), tap);
      p5 = rowAddress(batch, min(stagedRow + APART * 5u, lastRow), tap);
      p6 = rowAddress(batch, min(stagedRow + APART * 6u, lastRow), tap);
      p7 = rowAddress(batch, min(stagedRow + APART * 7u, lastRow), tap);
#endif
    }
    let k0 = (step - tap * stepsPerTap) * STEP;
    let k = k0 + (local % PER_ROW) * 4u;
#if ${WHOLE}
    // Addresses advance by what is the same in all lanes; computed anew, they would take as long as the products.
#if ${BLOCKS}
#if ${PANELS}
    let startB = (base + (k & ~31u) * params.n + (k & 31u)) >> 2u;
    const apartB = 8u;
#else
    let startB = (base + k) >> 2u;
    let apartB = params.k >> 2u;
#endif
    let columnB = column0 + local / PER_ROW;
    let lastB = params.n - 1u;
#else
    let startB = columnsOfB(base, columnB) + (k0 + local / VECTORS) * strideOfB();
    let apartB = (THREADS / VECTORS) * strideOfB();
#endif
#else
    let inside = k < params.k;
    let safeK = min(k, lastK);
#endif
#if ${WHOLE}
    let a0 = loadA(p0, k);
    let a1 = loadA(p1, k);
#if ${LOADS_A4}
    let a2 = loadA(p2, k);
    let a3 = loadA(p3, k);
#endif
#if ${LOADS_A8}
    let a4 = loadA(p4, k);
    let a5 = loadA(p5, k);
    let a6 = loadA(p6, k);
    let a7 = loadA(p7, k);
#endif
#if ${BLOCKS}
    let b0 = loadVectorB(startB + min(columnB, lastB) * apartB);
    let b1 = loadVectorB(startB + min(columnB + APART, lastB) * apartB);
#if ${LOADS_B4}
    let b2 = loadVectorB(startB + min(columnB + APART * 2u, lastB) * apartB);
    let b3 = loadVectorB(startB + min(columnB + APART * 3u, lastB) * apartB);
#endif
#if ${LOADS_B8}
    let b4 = loadVectorB(startB + min(columnB + APART * 4u, lastB) * apartB);
    let b5 = loadVectorB(startB + min(columnB + APART * 5u, lastB) * apartB);
    let b6 = loadVectorB(startB + min(columnB + APART * 6u, lastB) * apartB);
    let b7 = loadVectorB(startB + min(columnB + APART * 7u, lastB) * apartB);
#endif
#else
    let b0 = loadVectorB(startB);
    let b1 = loadVectorB(startB + apartB);
#if ${LOADS_B4}
    let b2 = loadVectorB(startB + apartB * 2u);
    let b3 = loadVectorB(startB + apartB * 3u);
#endif
#if ${LOADS_B8}
    let b4 = loadVectorB(startB + apartB * 4u);
    let b5 = loadVectorB(startB + apartB * 5u);
    let b6 = loadVectorB(startB + apartB * 6u);
    let b7 = loadVectorB(startB + apartB * 7u);
#endif
#endif
#else
    let a0 = loadA(RowAddress(p0.start, p0.valid && inside), safeK);
    let a1 = loadA(RowAddress(p1.start, p1.valid && inside), safeK);
#if ${LOADS_A4}
    let a2 = loadA(RowAddress(p2.start, p2.valid && inside), safeK);
    let a3 = loadA(RowAddress(p3.start, p3.valid && inside), safeK);
#endif
#if ${LOADS_A8}
    let a4 = loadA(RowAddress(p4.start, p4.valid && inside), safeK);
    let a5 = loadA(RowAddress(p5.start, p5.valid && inside), safeK);
    let a6 = loadA(RowAddress(p6.start, p6.valid && inside), safeK);
    let a7 = loadA(RowAddress(p7.start, p7.valid && inside), safeK);
#endif
    let b0 = loadStagedB(base, k0, column0, local);
    let b1 = loadStagedB(base, k0, column0, local + THREADS);
#if ${LOADS_B4}
    let b2 = loadStagedB(base, k0, column0, local + THREADS * 2u);
    let b3 = loadStagedB(base, k0, column0, local + THREADS * 3u);
#endif
#if ${LOADS_B8}
    let b4 = loadStagedB(base, k0, column0, local + THREADS * 4u);
    let b5 = loadStagedB(base, k0, column0, local + THREADS * 5u);
    let b6 = loadStagedB(base, k0, column0, local + THREADS * 6u);
    let b7 = loadStagedB(base, k0, column0, local + THREADS * 7u);
#endif
#endif
    putA(toA, a0);
    putA(toA + APART * ROW_A, a1);
#if ${LOADS_A4}
    putA(toA + APART * ROW_A * 2u, a2);
    putA(toA + APART * ROW_A * 3u, a3);
#endif
#if ${LOADS_A8}
    putA(toA + APART * ROW_A * 4u, a4);
    putA(toA + APART * ROW_A * 5u, a5);
    putA(toA + APART * ROW_A * 6u, a6);
    putA(toA + APART * ROW_A * 7u, a7);
#endif
    putStagedB(local, b0);
    putStagedB(local + THREADS, b1);
#if ${LOADS_B4}
    putStagedB(local + THREADS * 2u, b2);
    putStagedB(local + THREADS * 3u, b3);
#endif
#if ${LOADS_B8}
    putStagedB(local + THREADS * 4u, b4);
    putStagedB(local + THREADS * 5u, b5);
    putStagedB(local + THREADS * 6u, b6);
    putStagedB(local + THREADS * 7u, b7);
#endif
    workgroupBarrier();
    for (var q = 0u; q < STEP; q += K) {
      let fromA = ownRow * ROW_A + q;
#if ${BLOCKS}
      let fromB = ownColumn * ROW_B + q;
      const NEXT = N * ROW_B;
#else
      let fromB = q * ROW_B + ownColumn;
      const NEXT = N;
#endif
      let l0 = left(fromA);
      let l1 = left(fromA + M * ROW_A);
#if ${FOUR}
      let l2 = left(fromA + M * ROW_A * 2u);
      let l3 = left(fromA + M * ROW_A * 3u);
#endif
      let r0 = right(fromB);
      c00 = ${MULTIPLY}(l0, r0, c00);
      c10 = ${MULTIPLY}(l1, r0, c10);
#if ${FOUR}
      c20 = ${MULTIPLY}(l2, r0, c20);
      c30 = ${MULTIPLY}(l3, r0, c30);
#endif
      let r1 = right(fromB + NEXT);
      c01 = ${MULTIPLY}(l0, r1, c01);
      c11 = ${MULTIPLY}(l1, r1, c11);
#if ${FOUR}
      c21 = ${MULTIPLY}(l2, r1, c21);
      c31 = ${MULTIPLY}(l3, r1, c31);
#endif
#if ${FOUR}
      let r2 = right(fromB + NEXT * 2u);
      c02 = ${MULTIPLY}(l0, r2, c02);
      c12 = ${MULTIPLY}(l1, r2, c12);
      c22 = ${MULTIPLY}(l2, r2, c22);
      c32 = ${MULTIPLY}(l3, r2, c32);
      let r3 = right(fromB + NEXT * 3u);
      c03 = ${MULTIPLY}(l0, r3, c03);
      c13 = ${MULTIPLY}(l1, r3, c13);
      c23 = ${MULTIPLY}(l2, r3, c23);
      c33 = ${MULTIPLY}(l3, r3, c33);
#endif
    }
    workgroupBarrier();
  }
  let own = subgroup * M * STAGED_ROW;
  for (var part = 0u; part < FRAGMENTS * FRAGMENTS / 2u; part++) {
    switch (part) {
#if ${FOUR}
      case 0u: { stage(own, c00); stage(own + N, c01); }
      case 1u: { stage(own, c02); stage(own + N, c03); }
      case 2u: { stage(own, c10); stage(own + N, c11); }
      case 3u: { stage(own, c12); stage(own + N, c13); }
      case 4u: { stage(own, c20); stage(own + N, c21); }
      case 5u: { stage(own, c22); stage(own + N, c23); }
      case 6u: { stage(own, c30); stage(own + N, c31); }
      default: { stage(own, c32); stage(own + N, c33); }
#else
      case 0u: { stage(own, c00); stage(own + N, c01); }
      default: { stage(own, c10); stage(own + N, c11); }
#endif
    }
    workgroupBarrier();
    let row = part * 2u / FRAGMENTS;
    let pair = part % (FRAGMENTS / 2u);
    finish(at, row0 + ownRow + row * M, column0 + ownColumn + pair * STAGED_ROW, own, lane);
    workgroupBarrier();
  }
}
