// Sum of all elements of one tensor, or of a measure of how two tensors differ, times a factor. Each workgroup gives one number
// over its share; run a second time on those numbers, with one workgroup, it gives the whole.
// Bindings: x (and reference, of the same shape, with PAIR): vec4s, the last perhaps partly padding; y: one f32 per workgroup.
// Defines: PAIR; SQUARED: x^2, with PAIR (x - reference)^2 instead of abs(x - reference); BEFORE: what is added to the result, one f32.

// elements: f32s of x; groups: workgroups that take part
struct Params { elements: u32, groups: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
#if ${PAIR}
@group(0) @binding(1) var<storage, read> reference: array<vec4f>;
#endif
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;
#if ${BEFORE}
@group(0) @binding(4) var<storage, read> before: array<f32>;
#endif

var<workgroup> partial: array<f32, 64>;

fn term(i: u32) -> vec4f {
#if ${PAIR}
  let d = x[i] - reference[i];
#if ${SQUARED}
  return d * d;
#else
  return abs(d);
#endif
#else
#if ${SQUARED}
  return x[i] * x[i];
#else
  return x[i];
#endif
#endif
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let whole = params.elements / 4u;
  var sum = vec4f(0.0);
  for (var i = workgroup.x * 64u + local; i < whole; i += params.groups * 64u) {
    sum += term(i);
  }
  let rest = params.elements % 4u;
  if (rest > 0u && workgroup.x == 0u && local == 0u) {
    // Padding may hold anything, NaN too, so it is selected away, not multiplied by zero.
    sum += select(vec4f(0.0), term(whole), vec4u(0u, 1u, 2u, 3u) < vec4u(rest));
  }
  partial[local] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (local < half) { partial[local] += partial[local + half]; }
    workgroupBarrier();
  }
#if ${BEFORE}
  if (local == 0u) { y[workgroup.x] = before[0] + partial[0] * params.factor; }
#else
  if (local == 0u) { y[workgroup.x] = partial[0] * params.factor; }
#endif
}
