// Two products on matrix units, added up, by every subgroup: whether a dialect of WGSL compiles, and whether a configuration's numbers are
// right. x holds two M x K operands, then K x N by rows, then the other K x N by columns, one after the other; y [subgroup][M][N].
// Defines: FLAGS, EXTENSION, MULTIPLY of the dialect; COMPONENT, HALF (f16), M, N, K; LANES of a subgroup.
enable subgroups;
enable ${EXTENSION};
#if ${HALF}
enable f16;
#endif
alias Left = subgroup_matrix_left<${COMPONENT}, ${K}, ${M}>; // columns, rows
alias Right = subgroup_matrix_right<${COMPONENT}, ${N}, ${K}>;
alias Sum = subgroup_matrix_result<f32, ${N}, ${M}>;
const THREADS = 128u;
const M = ${M}u;
const N = ${N}u;
const K = ${K}u;
const OPERANDS = 2u * K * (M + N);
const RESULTS = THREADS / ${LANES}u * M * N;
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
#if ${FLAGS}
var<workgroup> operands: array<${COMPONENT}, OPERANDS>;
var<workgroup> staged: array<f32, RESULTS>;
#else
var<workgroup> operands: array<vec4<${COMPONENT}>, OPERANDS / 4u>;
var<workgroup> staged: array<vec4f, RESULTS / 4u>;
#endif

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32) {
  for (var i = local; i < OPERANDS / 4u; i += THREADS) {
    let value = vec4<${COMPONENT}>(x[i]);
#if ${FLAGS}
    for (var j = 0u; j < 4u; j++) { operands[4u * i + j] = value[j]; }
#else
    operands[i] = value;
#endif
  }
  workgroupBarrier();
  const RIGHT = 2u * K * M;
  let own = subgroup * M * N;
  var sum: Sum;
#if ${FLAGS}
  let left = subgroupMatrixLoad<Left>(&operands, 0u, false, K);
  let right = subgroupMatrixLoad<Right>(&operands, RIGHT, false, N);
  sum = ${MULTIPLY}(left, right, sum);
  let nextLeft = subgroupMatrixLoad<Left>(&operands, K * M, false, K);
  let nextRight = subgroupMatrixLoad<Right>(&operands, RIGHT + K * N, true, K);
  sum = ${MULTIPLY}(nextLeft, nextRight, sum);
  subgroupMatrixStore(&staged, own, sum, false, N);
#else
  let left = subgroupMatrixLoad<Left, row_major>(&operands, 0u, K / 4u);
  let right = subgroupMatrixLoad<Right, row_major>(&operands, RIGHT / 4u, N / 4u);
  sum = ${MULTIPLY}(left, right, sum);
  let nextLeft = subgroupMatrixLoad<Left, row_major>(&operands, K * M / 4u, K / 4u);
  let nextRight = subgroupMatrixLoad<Right, col_major>(&operands, (RIGHT + K * N) / 4u, K / 4u);
  sum = ${MULTIPLY}(nextLeft, nextRight, sum);
  subgroupMatrixStore<row_major>(&staged, own / 4u, sum, N / 4u);
#endif
  workgroupBarrier();
  for (var i = local; i < RESULTS / 4u; i += THREADS) {
#if ${FLAGS}
    y[i] = vec4f(staged[4u * i], staged[4u * i + 1u], staged[4u * i + 2u], staged[4u * i + 3u]);
#else
    y[i] = staged[i];
#endif
  }
}
