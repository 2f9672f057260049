// y = a + (b - a) * t. One thread per vec4.
// Bindings: a, b, y: count vec4s each; t: one number. Defines: IN_PLACE (a is y).
${POINTWISE}

struct Params { count: u32 }

#if ${IN_PLACE}
#else
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
#endif
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> t: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
#if ${IN_PLACE}
  let start = y[i];
#else
  let start = a[i];
#endif
  y[i] = start + (b[i] - start) * t[0];
}
