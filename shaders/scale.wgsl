// y = x * factor. One thread per vec4.
// Bindings: x, y: count vec4s each.
${POINTWISE}

struct Params { count: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> x: array<${x as vec4f}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as vec4f}>;

fn element(i: u32) {
  y[i] = ${y as vec4f}(vec4f(x[i]) * params.factor);
}
