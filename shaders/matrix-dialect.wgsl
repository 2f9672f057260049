// Nothing but one product on matrix units, to see whether a dialect of WGSL compiles: OLD takes a flag for column-major, the other names
// the order.
// Defines: OLD, COMPONENT, M, N, K.
enable subgroups;
enable chromium_experimental_subgroup_matrix;
#if ${HALF}
enable f16;
#endif
alias Left = subgroup_matrix_left<${COMPONENT}, ${K}, ${M}>;
alias Right = subgroup_matrix_right<${COMPONENT}, ${N}, ${K}>;
alias Sum = subgroup_matrix_result<f32, ${N}, ${M}>;
struct Params { size: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;
#if ${OLD}
var<workgroup> operands: array<${COMPONENT}, 1024>;
var<workgroup> staged: array<f32, 1024>;
#else
var<workgroup> operands: array<vec4<${COMPONENT}>, 256>;
var<workgroup> staged: array<vec4f, 256>;
#endif

@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) local: u32) {
  if (params.size == 0u) { return; }
  var sum: Sum;
#if ${OLD}
  let left = subgroupMatrixLoad<Left>(&operands, 0u, false, 32u);
  let right = subgroupMatrixLoad<Right>(&operands, 0u, true, 32u);
  sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  subgroupMatrixStore(&staged, 0u, sum, false, 32u);
  workgroupBarrier();
  y[local] = staged[local];
#else
  let left = subgroupMatrixLoad<Left, row_major>(&operands, 0u, 8u);
  let right = subgroupMatrixLoad<Right, col_major>(&operands, 0u, 8u);
  sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  subgroupMatrixStore<row_major>(&staged, 0u, sum, 8u);
  workgroupBarrier();
  y[local] = staged[local].x;
#endif
}
