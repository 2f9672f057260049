// dx = dy * derivative of an activation at x. One thread per vec4.
// Bindings: dy, x, dx: count vec4s each.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; DERIVATIVE, the name of one of its functions.
${POINTWISE}
${ACTIVATIONS}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> dy: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4f>;

fn element(i: u32) {
  dx[i] = dy[i] * ${DERIVATIVE}(x[i]);
}
