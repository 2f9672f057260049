// What gemm.wgsl's workgroups made of a product whose steps they shared: a thread adds up the parts of one vec4 and finishes it.
// a: the parts, [split][batch][row][column]. Needs VEC4.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let vectors = params.n / 4u;
  let index = (group.x + group.y * groups.x) * 64u + local;
  let count = params.batches * params.rows * vectors;
  if (index >= count) { return; }
  var sum = vec4f(a[index]);
  for (var split = 1u; split < params.splits; split++) { sum += vec4f(a[split * count + index]); }
  let column = (index % vectors) * 4u;
  let row = index / vectors;
  store(row / params.rows, row % params.rows, column, sum, biasAt(column));
}
