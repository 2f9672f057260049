// C[batch] = epilogue(A[batch] * B[batch]), the epilogue being (activation(sum + bias) + residual) * scale.
// a [batches, rows, k]; b [k, n] or [n, k], one for all batches or one each; bias [n]; residual and c [batches, rows, n].
// Defines: VEC4, TRANSPOSE_B, PANELS, B_F16, HALF, GATED, KEEP, ACTIVATE (function of the epilogue), those of TILE, and the snippets
// ENABLE, GEMM, TILE, ACTIVATIONS.
${ENABLE}
struct Params {
  rows: u32, n: u32, k: u32, batches: u32,
  taps: u32, rowsPerImage: u32, batchBiasStride: u32, batchBiasOffset: u32, bBatchStride: u32,
  columnTiles: u32, rowTiles: u32, rowsFirst: u32, splits: u32, stepsPerSplit: u32,
  hasBias: u32, hasBatchBias: u32, hasResidual: u32,
  scale: f32,
}

fn rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress {
  return RowAddress((batch * params.rows + row) * params.k, true);
}

fn tapSlice(tap: u32) -> u32 { return 0u; }

${GEMM}
