// y = x: the most bytes an adapter can move. One thread per vec4.
// Bindings: x, y: count vec4s each.
${POINTWISE}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
  y[i] = x[i];
}
