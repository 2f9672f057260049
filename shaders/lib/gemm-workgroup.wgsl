// A tile of gemm.wgsl through workgroup memory: THREAD_ROWS x THREAD_COLUMNS threads own ROWS (4 or 8) rows x 4 (8 with WIDE) columns each:
// 32 x 32 to 128 x 128. 16 steps of k at a time are staged, in 4 to 16 KiB, within WebGPU's default limits; no feature is needed. What the
// next step takes is read into registers before the present one is computed, so that a workgroup that has its processor to itself does not
// wait for memory. A thread's rows are THREAD_ROWS apart and its vec4s THREAD_COLUMNS apart, so that neighbouring threads read neighbouring
// memory.
// Other defines: LOADS_A, LOADS_B: vec4s of A and B that a thread stages; BLOCKS: B is read in blocks of 4 x 4, because it is transposed
// and in vec4s; WHOLE: see gemm.wgsl.
const TC = ${THREAD_COLUMNS}u;
const TR = ${THREAD_ROWS}u;
const THREADS = TR * TC;
const STEP = 16u;
const TILE_ROWS = TR * ${ROWS}u;
#if ${WIDE}
const TILE_VECTORS = TC * 2u;
#else
const TILE_VECTORS = TC;
#endif
const ROWS_APART = THREADS / 4u; // of what a thread stages of A: four threads take the k of one row
// [row][k / 4], the four exchanged by the row's last bits, so that four rows lie in different banks
var<workgroup> tileA: array<Operand, TILE_ROWS * 4u>;
var<workgroup> tileB: array<Operand, TILE_VECTORS * 16u>; // [k][column / 4]

// The i-th vec4 of B's part of a step.
fn stagedB(base: u32, k0: u32, column0: u32, i: u32) -> Operand {
  return loadRow(base, min(k0 + i / TILE_VECTORS, params.k - 1u), min(column0 + (i % TILE_VECTORS) * 4u, (params.n - 1u) & ~3u));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let at = tileOf(group.x + group.y * groups.x);
  let batch = at.batch;
  if (batch >= params.batches) { return; }
  let row0 = at.row * TILE_ROWS;
  let column0 = at.column * TILE_VECTORS * 4u;
  let lastRow = params.rows - 1u;
  let lastK = (params.k - 1u) & ~3u;
  let y = local / TC;
  let x = local % TC;
  let quarter = local % 4u;
  let stagedRow = local / 4u;
  let toA = stagedRow * 4u + (quarter ^ (stagedRow & 3u));
  let stepsPerTap = (params.k + STEP - 1u) / STEP;
  let first = at.split * params.stepsPerSplit;
  let end = min(first + params.stepsPerSplit, params.taps * stepsPerTap);
#if ${WHOLE}
  let columnB = min(column0 + (local % TILE_VECTORS) * 4u, (params.n - 1u) & ~3u);
#endif
  var tap = 0xffffffffu;
  var base = 0u;
#unroll i < ${LOADS_A}
  var p$i: RowAddress;
  var a$i: Operand;
#endunroll
#if ${BLOCKS}
  var block: Four;
#else
#unroll i < ${LOADS_B}
  var b$i: Operand;
#endunroll
#endif
#unroll r < ${ROWS}
  var c$r = vec4f();
#if ${WIDE}
  var d$r = vec4f();
#endif
#endunroll
  // A turn reads what one step takes and computes the step before; so there is one turn more.
  for (var step = first; step <= end; step++) {
    if (step < end) {
      if (step / stepsPerTap != tap) {
        tap = step / stepsPerTap;
        base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
#unroll i < ${LOADS_A}
        p$i = rowAddress(batch, min(row0 + stagedRow + $i * ROWS_APART, lastRow), tap);
#endunroll
      }
      let k0 = (step - tap * stepsPerTap) * STEP;
      let k = k0 + quarter * 4u;
#if ${WHOLE}
      let safeK = k;
#else
      let inside = k < params.k;
      let safeK = min(k, lastK);
#endif
#unroll i < ${LOADS_A}
#if ${WHOLE}
      a$i = loadA(p$i, k);
#else
      a$i = loadA(RowAddress(p$i.start, p$i.valid && inside), safeK);
#endif
#endunroll
#if ${BLOCKS}
      if (local < TILE_VECTORS * 4u) { block = loadBlock(base, safeK, min(column0 + stagedRow * 4u, (params.n - 1u) & ~3u)); }
#else
#if ${WHOLE}
      // Addresses advance by what is the same in all threads; computed anew, they would take as long as a third of the products.
      let startB = columnsOfB(base, columnB) + (k0 + local / TILE_VECTORS) * strideOfB();
      let apartB = (THREADS / TILE_VECTORS) * strideOfB();
#endif
#unroll i < ${LOADS_B}
#if ${WHOLE}
      b$i = loadVectorB(startB + $i * apartB);
#else
      b$i = stagedB(base, k0, column0, local + $i * THREADS);
#endif
#endunroll
#endif
    }
    if (step > first) {
      for (var k4 = 0u; k4 < 4u; k4++) {
        let fromA = y * 4u + (k4 ^ (y & 3u));
        let fromB = k4 * 4u * TILE_VECTORS + x;
        let f = Four(tileB[fromB], tileB[fromB + TILE_VECTORS], tileB[fromB + TILE_VECTORS * 2u], tileB[fromB + TILE_VECTORS * 3u]);
#if ${WIDE}
        let h = Four(tileB[fromB + TC], tileB[fromB + TC + TILE_VECTORS], tileB[fromB + TC + TILE_VECTORS * 2u], tileB[fromB + TC +
          TILE_VECTORS * 3u]);
#endif
#unroll r < ${ROWS}
        let r$r = tileA[fromA + $r * TR * 4u];
        c$r = rank4(c$r, r$r, f);
#if ${WIDE}
        d$r = rank4(d$r, r$r, h);
#endif
#endunroll
      }
    }
    workgroupBarrier();
    if (step < end) {
#unroll i < ${LOADS_A}
      tileA[toA + $i * THREADS] = a$i;
#endunroll
#if ${BLOCKS}
      if (local < TILE_VECTORS * 4u) {
        let to = quarter * 4u * TILE_VECTORS + stagedRow;
        tileB[to] = block.x;
        tileB[to + TILE_VECTORS] = block.y;
        tileB[to + TILE_VECTORS * 2u] = block.z;
        tileB[to + TILE_VECTORS * 3u] = block.w;
      }
#else
#unroll i < ${LOADS_B}
      tileB[local + $i * THREADS] = b$i;
#endunroll
#endif
    }
    workgroupBarrier();
  }
  let row = row0 + y;
  let column = column0 + x * 4u;
  let biasHere = biasAt(column);
#unroll r < ${ROWS}
  storeSum(at, row + $r * TR, column, c$r, biasHere);
#endunroll
#if ${WIDE}
  let biasThere = biasAt(column + TC * 4u);
#unroll r < ${ROWS}
  storeSum(at, row + $r * TR, column + TC * 4u, d$r, biasThere);
#endunroll
#endif
}
