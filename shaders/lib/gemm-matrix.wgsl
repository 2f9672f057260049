// A tile of gemm.wgsl on matrix units: SUBGROUP_ROWS x SUBGROUP_COLUMNS subgroups of LANES lanes, 128 lanes in all, each owning
// FRAGMENTS x FRAGMENTS (2 or 4) results of M x N, which products of M x K by K x N add up to. STEP (32 or 64) of k at a time are staged as
// COMPONENT (f16 or f32), in rows padded by 8, which lie in different banks; sums are f32. The results go through workgroup memory to the
// epilogue, two of each subgroup at a time. On an H100, among forms with f16 operands, four subgroups of 64 x 64 gave 232 TFLOP/s, eight of
// 32 x 64 123; unpadded rows and a step of 16 halve either.
// Other defines: LOADS_A, LOADS_B: vec4s of A and B that a lane stages; PAIRS: FRAGMENTS / 2; BLOCKS: B is transposed and in vec4s, and
// staged as it lies; WHOLE: see gemm.wgsl; FLAGS: the dialect whose loads take a flag for columns and arrays of scalars alone; MULTIPLY:
// its name of a product.
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
const FRAGMENTS = ${FRAGMENTS}u;
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
  let first = at.split * params.stepsPerSplit;
  let end = min(first + params.stepsPerSplit, params.taps * stepsPerTap);
  // PER_ROW lanes take the k of one row, APART rows at a time.
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
#unroll i < ${LOADS_A}
  var p$i: RowAddress;
#endunroll
#unroll m < ${FRAGMENTS}
#unroll pair < ${PAIRS}
  var c$m_$pair_0: Sum;
  var c$m_$pair_1: Sum;
#endunroll
#endunroll
  for (var step = first; step < end; step++) {
    if (step / stepsPerTap != tap) {
      tap = step / stepsPerTap;
      base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
#unroll i < ${LOADS_A}
      p$i = rowAddress(batch, min(stagedRow + $i * APART, lastRow), tap);
#endunroll
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
#unroll i < ${LOADS_A}
#if ${WHOLE}
    let a$i = loadA(p$i, k);
#else
    let a$i = loadA(RowAddress(p$i.start, p$i.valid && inside), safeK);
#endif
#endunroll
#unroll i < ${LOADS_B}
#if ${WHOLE}
#if ${BLOCKS}
    let b$i = loadVectorB(startB + min(columnB + $i * APART, lastB) * apartB);
#else
    let b$i = loadVectorB(startB + $i * apartB);
#endif
#else
    let b$i = loadStagedB(base, k0, column0, local + $i * THREADS);
#endif
#endunroll
#unroll i < ${LOADS_A}
    putA(toA + $i * APART * ROW_A, a$i);
#endunroll
#unroll i < ${LOADS_B}
    putStagedB(local + $i * THREADS, b$i);
#endunroll
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
#unroll m < ${FRAGMENTS}
      let l$m = left(fromA + $m * M * ROW_A);
#endunroll
#unroll pair < ${PAIRS}
#unroll n < 2
      let r$pair_$n = right(fromB + ($pair * 2 + $n) * NEXT);
#unroll m < ${FRAGMENTS}
      c$m_$pair_$n = ${MULTIPLY}(l$m, r$pair_$n, c$m_$pair_$n);
#endunroll
#endunroll
#endunroll
    }
    workgroupBarrier();
  }
  let own = subgroup * M * STAGED_ROW;
  for (var part = 0u; part < FRAGMENTS * ${PAIRS}u; part++) {
    switch (part) {
#unroll m < ${FRAGMENTS}
#unroll pair < ${PAIRS}
      case $m * ${PAIRS} + $pair: { stage(own, c$m_$pair_0); stage(own + N, c$m_$pair_1); }
#endunroll
#endunroll
      default: {}
    }
    workgroupBarrier();
    let row = part / ${PAIRS}u;
    let pair = part % ${PAIRS}u;
    finish(at, row0 + ownRow + row * M, column0 + ownColumn + pair * STAGED_ROW, own, lane);
    workgroupBarrier();
  }
}
