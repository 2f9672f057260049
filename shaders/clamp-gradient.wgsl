// dx = dy where low < x < high, else 0. x, dy, dx: any shape, as vec4s. Defines: none.
${POINTWISE}

struct Params { count: u32, low: f32, high: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> dy: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;

fn element(index: u32) {
  let inside = (x[index] > vec4f(params.low)) & (x[index] < vec4f(params.high));
  dx[index] = select(vec4f(), dy[index], inside);
}
