// y = coefficients[0] x0 + coefficients[1] x1 + ..., optionally clamped to [low, high]. One thread per vec4.
// Bindings: coefficients: one f32 per term; x0 .. x5 (as many as there are terms), y: count vec4s each.
// Defines: X1 .. X5, whether that term is there; CLAMP.

struct Params { count: u32, low: f32, high: f32 }

@group(0) @binding(0) var<storage, read> coefficients: array<f32>;
@group(0) @binding(1) var<storage, read> x0: array<vec4f>;
#if ${X1}
@group(0) @binding(2) var<storage, read> x1: array<vec4f>;
#endif
#if ${X2}
@group(0) @binding(3) var<storage, read> x2: array<vec4f>;
#endif
#if ${X3}
@group(0) @binding(4) var<storage, read> x3: array<vec4f>;
#endif
#if ${X4}
@group(0) @binding(5) var<storage, read> x4: array<vec4f>;
#endif
#if ${X5}
@group(0) @binding(6) var<storage, read> x5: array<vec4f>;
#endif
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (i >= params.count) { return; }
  var sum = coefficients[0] * x0[i];
#if ${X1}
  sum += coefficients[1] * x1[i];
#endif
#if ${X2}
  sum += coefficients[2] * x2[i];
#endif
#if ${X3}
  sum += coefficients[3] * x3[i];
#endif
#if ${X4}
  sum += coefficients[4] * x4[i];
#endif
#if ${X5}
  sum += coefficients[5] * x5[i];
#endif
#if ${CLAMP}
  sum = clamp(sum, vec4f(params.low), vec4f(params.high));
#endif
  y[i] = sum;
}
