// Gradient of y = value * gelu(gate): dValue = dy gelu(gate), dGate = dy value gelu'(gate), laid out as x. One thread per Pack of dy.
// Bindings: dy: [rows, width]; x, dx: [rows, 2 width], value in the first half of each row, gate in the second.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; PACKS, of lib/pack.wgsl; VEC4, whether width is a multiple of 4.
${POINTWISE}
${ACTIVATIONS}
${PACKS}

// count: Packs in dy; width: Packs in a row of dy
struct Params { count: u32, width: u32 }

@group(0) @binding(0) var<storage, read> dy: array<Pack>;
@group(0) @binding(1) var<storage, read> x: array<Pack>;
@group(0) @binding(2) var<storage, read_write> dx: array<Pack>;

fn element(i: u32) {
  let value = i + (i / params.width) * params.width;
  let gate = value + params.width;
  let d = dy[i];
  let g = vec4f(x[gate]);
  dx[value] = d * packOf(gelu4(g));
  dx[gate] = d * x[value] * packOf(geluDerivative4(g));
}
