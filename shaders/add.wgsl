// y = a + b, same shape. One thread per vec4.
// Bindings: a, b, y: count vec4s each. Defines: IN_PLACE (a is y).

struct Params { count: u32 }

#if ${IN_PLACE}
#else
@group(0) @binding(0) var<storage, read> a: array<${a as vec4f}>;
#endif
@group(0) @binding(1) var<storage, read> b: array<${b as vec4f}>;
@group(0) @binding(2) var<storage, read_write> y: array<${y as vec4f}>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (i >= params.count) { return; }
#if ${IN_PLACE}
  y[i] += vec4f(b[i]);
#else
  y[i] = ${y as vec4f}(vec4f(a[i]) + vec4f(b[i]));
#endif
}
