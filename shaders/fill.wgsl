// y[i] = value for every element. y: count vec4s.
${POINTWISE}

struct Params { count: u32, value: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;

fn element(index: u32) {
  y[index] = vec4f(params.value);
}
