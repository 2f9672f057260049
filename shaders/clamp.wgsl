// y = min(max(x, low), high). x, y: any shape, as vec4s. Defines: none.
${POINTWISE}

struct Params { count: u32, low: f32, high: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

fn element(index: u32) {
  y[index] = min(max(x[index], vec4f(params.low)), vec4f(params.high));
}
