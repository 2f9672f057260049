// y = a * b, element by element, same shape. One thread per vec4.
// Bindings: a, b, y: count vec4s each.
${POINTWISE}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
  y[i] = a[i] * b[i];
}
