// y = coefficients[0] x0 + coefficients[1] x1 + ..., optionally clamped to [low, high]. One thread per vec4.
// Bindings: coefficients: one f32 per term; x0 .. x5, y: count vec4s each, or nothing where there are fewer terms.
// Defines: TERMS, how many there are; CLAMP.
${POINTWISE}

struct Params { count: u32, low: f32, high: f32 }

@group(0) @binding(6) var<storage, read> coefficients: array<f32>;
@group(0) @binding(0) var<storage, read> x0: array<vec4f>;
@group(0) @binding(1) var<storage, read> x1: array<vec4f>;
@group(0) @binding(2) var<storage, read> x2: array<vec4f>;
@group(0) @binding(3) var<storage, read> x3: array<vec4f>;
@group(0) @binding(4) var<storage, read> x4: array<vec4f>;
@group(0) @binding(5) var<storage, read> x5: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
  var sum = coefficients[0] * x0[i];
#unroll 1 <= k < ${TERMS}
  sum += coefficients[$k] * x$k[i];
#endunroll
#if ${CLAMP}
  sum = clamp(sum, vec4f(params.low), vec4f(params.high));
#endif
  y[i] = sum;
}
