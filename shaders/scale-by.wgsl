// y = x * factor[0], or x / factor[0] with DIVIDE. One thread per vec4.
// Bindings: x, y: count vec4s each; factor: one f32.
// Defines: DIVIDE.
${POINTWISE}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> factor: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
#if ${DIVIDE}
  y[i] = x[i] / factor[0];
#else
  y[i] = x[i] * factor[0];
#endif
}
