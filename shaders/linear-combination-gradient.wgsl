// dx = dy * coefficients[index], and 0 where the forward result was clamped (y not strictly between low and high). One thread per vec4.
// Bindings: dy, dx: count vec4s; coefficients: one f32 per term of the sum; y: the forward result (with CLAMP).
// Defines: CLAMP.
${POINTWISE}

struct Params { count: u32, index: u32, low: f32, high: f32 }

@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> coefficients: array<f32>;
#if ${CLAMP}
@group(0) @binding(2) var<storage, read> y: array<vec4f>;
#endif
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn element(i: u32) {
  var d = dy[i] * coefficients[params.index];
#if ${CLAMP}
  let inside = (y[i] > vec4f(params.low)) & (y[i] < vec4f(params.high));
  d = select(vec4f(0.0), d, inside);
#endif
  dx[i] = d;
}
