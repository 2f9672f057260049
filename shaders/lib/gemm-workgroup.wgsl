// A tile of gemm.wgsl through workgroup memory: THREAD_ROWS x THREAD_COLUMNS threads own 8 (4 without ROWS8) rows x 4 (8 with WIDE) columns
// each: 32 x 32 to 128 x 128. 16 steps of k at a time are staged, in 4 to 16 KiB, within WebGPU's default limits; no feature is needed.
// What the next step takes is read into registers before the present one is computed, so that a workgroup that has its processor to itself
// does not wait for memory. A thread's rows are THREAD_ROWS apart and its vec4s THREAD_COLUMNS apart, so that neighbouring threads read
// neighbouring memory.
// Other defines: LOADS4, LOADS_B4: a thread stages four vec4s of A or B, else two; BLOCKS: B is read in blocks of 4 x 4, because it is
// transposed and in vec4s;
// WHOLE: see gemm.wgsl; SPLIT: several workgroups share the steps of a tile.
const TC = ${THREAD_COLUMNS}u;
const TR = ${THREAD_ROWS}u;
const THREADS = TR * TC;
const STEP = 16u;
#if ${ROWS8}
const TILE_ROWS = TR * 8u;
#else
const TILE_ROWS = TR * 4u;
#endif
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
#if ${SPLIT}
  let first = at.split * params.stepsPerSplit;
  let end = min(first + params.stepsPerSplit, params.taps * stepsPerTap);
#else
  let first = 0u;
  let end = params.taps * stepsPerTap;
#endif
#if ${WHOLE}
  let columnB = min(column0 + (local % TILE_VECTORS) * 4u, (params.n - 1u) & ~3u);
#endif
  var tap = 0xffffffffu;
  var base = 0u;
  var p0: RowAddress; var p1: RowAddress;
  var a0: Operand; var a1: Operand;
#if ${LOADS4}
  var p2: RowAddress; var p3: RowAddress;
  var a2: Operand; var a3: Operand;
#endif
#if ${BLOCKS}
  var block: Four;
#else
  var b0: Operand; var b1: Operand;
#if ${LOADS_B4}
  var b2: Operand; var b3: Operand;
#endif
#endif
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
#if ${ROWS8}
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
#endif
#if ${WIDE}
  var d0 = vec4f(); var d1 = vec4f(); var d2 = vec4f(); var d3 = vec4f();
  var d4 = vec4f(); var d5 = vec4f(); var d6 = vec4f(); var d7 = vec4f();
#endif
  // A turn reads what one step takes and computes the step before; so there is one turn more.
  for (var step = first; step <= end; step++) {
    if (step < end) {
      if (step / stepsPerTap != tap) {
        tap = step / stepsPerTap;
        base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
        p0 = rowAddress(batch, min(row0 + stagedRow, lastRow), tap);
        p1 = rowAddress(batch, min(row0 + stagedRow + ROWS_APART, lastRow), tap);
#if ${LOADS4}
        p2 = rowAddress(batch, min(row0 + stagedRow + ROWS_APART * 2u, lastRow), tap);
        p3 = rowAddress(batch, min(row0 + stagedRow + ROWS_APART * 3u, lastRow), tap);
#endif
      }
      let k0 = (step - tap * stepsPerTap) * STEP;
      let k = k0 + quarter * 4u;
#if ${WHOLE}
      let safeK = k;
      a0 = loadA(p0, k);
      a1 = loadA(p1, k);
#if ${LOADS4}
      a2 = loadA(p2, k);
      a3 = loadA(p3, k);
#endif
#else
      let inside = k < params.k;
      let safeK = min(k, lastK);
      a0 = loadA(RowAddress(p0.start, p0.valid && inside), safeK);
      a1 = loadA(RowAddress(p1.start, p1.valid && inside), safeK);
#if ${LOADS4}
      a2 = loadA(RowAddress(p2.start, p2.valid && inside), safeK);
      a3 = loadA(RowAddress(p3.start, p3.valid && inside), safeK);
#endif
#endif
#if ${BLOCKS}
      if (local < TILE_VECTORS * 4u) { block = loadBlock(base, safeK, min(column0 + stagedRow * 4u, (params.n - 1u) & ~3u)); }
#else
#if ${WHOLE}
      // Addresses advance by what is the same in all threads; computed anew, they would take as long as a third of the products.
      let startB = columnsOfB(base, columnB) + (k0 + local / TILE_VECTORS) * strideOfB();
      let apartB = (THREADS / TILE_VECTORS) * strideOfB();
      b0 = loadVectorB(startB);
      b1 = loadVectorB(startB + apartB);
#if ${LOADS_B4}
      b2 = loadVectorB(startB + apartB * 2u);
      b3 = loadVectorB(startB + apartB * 3u);
#endif
#else
      b0 = stagedB(base, k0, column0, local);
      b1 = stagedB(base, k0, column0, local + THREADS);
#if ${LOADS_B4}
      b2 = stagedB(base, k0, column0, local + THREADS * 2u);
      b3 = stagedB(base, k0, column0, local + THREADS * 3u);
#endif
#endif
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
        let r0 = tileA[fromA];
        c0 = rank4(c0, r0, f);
#if ${WIDE}
        d0 = rank4(d0, r0, h);
#endif
        let r1 = tileA[fromA + TR * 4u];
        c1 = rank4(c1, r1, f);
#if ${WIDE}
        d1 = rank4(d1, r1, h);
#endif
        let r2 = tileA[fromA + TR * 8u];
        c2 = rank4(c2, r2, f);
#if ${WIDE}
        d2 = rank4(d2, r2, h);
#endif
        let r3 = tileA[fromA + TR * 12u];
        c3 = rank4(c3, r3, f);
#if ${WIDE}
        d3 = rank4(d3, r3, h);
#endif
#if ${ROWS8}
        let r4 = tileA[fromA + TR * 16u];
        c4 = rank4(c4, r4, f);
#if ${WIDE}
        d4 = rank4(d4, r4, h);
#endif
        let r5 = tileA[fromA + TR * 20u];
        c5 = rank4(c5, r5, f);
#if ${WIDE}
        d5 = rank4(d5, r5, h);
#endif
        let r6 = tileA[fromA + TR * 24u];
        c6 = rank4(c6, r6, f);
#if ${WIDE}
        d6 = rank4(d6, r6, h);
#endif
        let r7 = tileA[fromA + TR * 28u];
        c7 = rank4(c7, r7, f);
#if ${WIDE}
        d7 = rank4(d7, r7, h);
#endif
#endif
      }
    }
    workgroupBarrier();
    if (step < end) {
      tileA[toA] = a0;
      tileA[toA + THREADS] = a1;
#if ${LOADS4}
      tileA[toA + THREADS * 2u] = a2;
      tileA[toA + THREADS * 3u] = a3;
#endif
#if ${BLOCKS}
      if (local < TILE_VECTORS * 4u) {
        let to = quarter * 4u * TILE_VECTORS + stagedRow;
        tileB[to] = block.x;
        tileB[to + TILE_VECTORS] = block.y;
        tileB[to + TILE_VECTORS * 2u] = block.z;
        tileB[to + TILE_VECTORS * 3u] = block.w;
      }
#else
      tileB[local] = b0;
      tileB[local + THREADS] = b1;
#if ${LOADS_B4}
      tileB[local + THREADS * 2u] = b2;
      tileB[local + THREADS * 3u] = b3;
#endif
#endif
    }
    workgroupBarrier();
  }
  let row = row0 + y;
  let column = column0 + x * 4u;
  let biasHere = biasAt(column);
  storeSum(at, row, column, c0, biasHere);
  storeSum(at, row + TR * 1u, column, c1, biasHere);
  storeSum(at, row + TR * 2u, column, c2, biasHere);
  storeSum(at, row + TR * 3u, column, c3, biasHere);
#if ${ROWS8}
  storeSum(at, row + TR * 4u, column, c4, biasHere);
  storeSum(at, row + TR * 5u, column, c5, biasHere);
  storeSum(at, row + TR * 6u, column, c6, biasHere);
  storeSum(at, row + TR * 7u, column, c7, biasHere);
#endif
#if ${WIDE}
  let biasThere = biasAt(column + TC * 4u);
  storeSum(at, row, column + TC * 4u, d0, biasThere);
  storeSum(at, row + TR * 1u, column + TC * 4u, d1, biasThere);
  storeSum(at, row + TR * 2u, column + TC * 4u, d2, biasThere);
  storeSum(at, row + TR * 3u, column + TC * 4u, d3, biasThere);
  storeSum(at, row + TR * 4u, column + TC * 4u, d4, biasThere);
  storeSum(at, row + TR * 5u, column + TC * 4u, d5, biasThere);
  storeSum(at, row + TR * 6u, column + TC * 4u, d6, biasThere);
  storeSum(at, row + TR * 7u, column + TC * 4u, d7, biasThere);
#endif
}
