// C[batch] = epilogue(A[batch] * B[batch]), the epilogue being (activation(sum + bias) + residual) * scale.
// a [batches, rows, k]; b [k, n] or [n, k], one for all batches or one each; bias [n]; residual and c [batches, rows, n].
// Defines: VEC4, TRANSPOSE_B, PANELS, B_F16, HALF, GATED, KEEP, ACTIVATE (function of the epilogue), those of TILE, and the snippets
// ENABLE, PARAMS, GEMM, TILE, ACTIVATIONS.
${ENABLE}
struct Params {
${PARAMS}
}

fn rowAddress(batch: u32, row: u32, tap: u32) -> RowAddress {
  return RowAddress((batch * params.rows + row) * params.k, true);
}

fn tapSlice(tap: u32) -> u32 { return 0u; }

${GEMM}
