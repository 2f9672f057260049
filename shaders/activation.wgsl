// y = activation(x). One thread per vec4.
// Bindings: x, y: count vec4s each.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; ACTIVATION, the name of one of its functions.
${POINTWISE}
${ACTIVATIONS}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
  y[i] = ${ACTIVATION}(x[i]);
}
