// A tile of gemm.wgsl through workgroup memory: THREAD_ROWS x 16 threads own 8 * THREAD_ROWS rows x 64 columns, a thread 8 rows x 4 columns.
// 16 steps of k at a time are staged, 8 KiB (THREAD_ROWS = 8) or 12 KiB (16); both fit WebGPU's default limits, and no feature is needed.
// A thread's rows are THREAD_ROWS apart, so that neighbouring threads read neighbouring memory. Defines: THREAD_ROWS, and BLOCKS: B is read in
// blocks of 4 x 4, because it is transposed and in vec4s.
const THREADS = ${THREAD_ROWS}u * 16u;
const STEP = 16u;
var<workgroup> tileA: array<Operand, ${THREAD_ROWS} * 8 * 4>; // [row][k / 4]
var<workgroup> tileB: array<Operand, 16 * 16>; // [k][column / 4]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let tile = group.x + group.y * groups.x;
  let at = tilePosition(tile);
  let batch = tile / (params.columnTiles * params.rowTiles);
  if (batch >= params.batches) { return; }
  let row0 = at.y * ${THREAD_ROWS}u * 8u;
  let column0 = at.x * 64u;
  let lastRow = params.rows - 1u;
  let lastK = (params.k - 1u) & ~3u;
  let lastColumn = (params.n - 1u) & ~3u;
  let y = local / 16u;
  let x = local % 16u;
  var c0 = vec4f(); var c1 = vec4f(); var c2 = vec4f(); var c3 = vec4f();
  var c4 = vec4f(); var c5 = vec4f(); var c6 = vec4f(); var c7 = vec4f();
  for (var tap = 0u; tap < params.taps; tap++) {
    let base = batch * params.bBatchStride + tapSlice(tap) * params.k * params.n;
    // Four threads load the k of one row, in two rounds.
    let p0 = rowAddress(batch, min(row0 + local / 4u, lastRow), tap);
    let p1 = rowAddress(batch, min(row0 + local / 4u + ${THREAD_ROWS}u * 4u, lastRow), tap);
    for (var k0 = 0u; k0 < params.k; k0 += STEP) {
      let k = k0 + (local % 4u) * 4u;
      let inside = k < params.k;
      tileA[local] = loadA(RowAddress(p0.start, p0.valid && inside), min(k, lastK));
      tileA[local + THREADS] = loadA(RowAddress(p1.start, p1.valid && inside), min(k, lastK));
#if ${BLOCKS}
      if (local < 64u) {
        let kOfBlock = (local % 4u) * 4u;
        let columnOfBlock = local / 4u;
        let f = loadBlock(base, min(k0 + kOfBlock, lastK), min(column0 + columnOfBlock * 4u, lastColumn));
        let to = kOfBlock * 16u + columnOfBlock;
        tileB[to] = f.x; tileB[to + 16u] = f.y; tileB[to + 32u] = f.z; tileB[to + 48u] = f.w;
      }
#else
      for (var i = local; i < 256u; i += THREADS) {
        tileB[i] = loadRow(base, min(k0 + i / 16u, params.k - 1u), min(column0 + (i % 16u) * 4u, lastColumn));
      }
#endif
      workgroupBarrier();
      for (var k4 = 0u; k4 < 4u; k4++) {
        let fromB = k4 * 64u + x;
        let f = Four(tileB[fromB], tileB[fromB + 16u], tileB[fromB + 32u], tileB[fromB + 48u]);
        let fromA = y * 4u + k4;
        c0 = rank4(c0, tileA[fromA], f);
        c1 = rank4(c1, tileA[fromA + ${THREAD_ROWS}u * 4u], f);
        c2 = rank4(c2, tileA[fromA + ${THREAD_ROWS}u * 8u], f);
        c3 = rank4(c3, tileA[fromA + ${THREAD_ROWS}u * 12u], f);
        c4 = rank4(c4, tileA[fromA + ${THREAD_ROWS}u * 16u], f);
        c5 = rank4(c5, tileA[fromA + ${THREAD_ROWS}u * 20u], f);
        c6 = rank4(c6, tileA[fromA + ${THREAD_ROWS}u * 24u], f);
        c7 = rank4(c7, tileA[fromA + ${THREAD_ROWS}u * 28u], f);
      }
      workgroupBarrier();
    }
  }
  let column = column0 + x * 4u;
  let row = row0 + y;
  var biasHere = vec4f();
  if (params.hasBias != 0u) { biasHere = loadBias(min(column, lastColumn)); }
  store(batch, row, column, c0, biasHere);
  store(batch, row + ${THREAD_ROWS}u, column, c1, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 2u, column, c2, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 3u, column, c3, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 4u, column, c4, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 5u, column, c5, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 6u, column, c6, biasHere);
  store(batch, row + ${THREAD_ROWS}u * 7u, column, c7, biasHere);
}
