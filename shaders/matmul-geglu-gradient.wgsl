// Gradient of y = value * gelu(gate), where four neighbouring sums are two values and their two gates:
// dValue = dy gelu(gate), dGate = dy value gelu'(gate), laid out as the sums. One thread per vec4 of the sums.
// Bindings: dy: two numbers per thread; sums, dSums: four.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl.
${POINTWISE}
${ACTIVATIONS}

struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as vec2f}>;
@group(0) @binding(1) var<storage, read> sums: array<${sums as vec4f}>;
@group(0) @binding(2) var<storage, read_write> dSums: array<${dSums as vec4f}>;

fn element(i: u32) {
  let d = vec2f(dy[i]);
  let x = vec4f(sums[i]);
  dSums[i] = ${dSums as vec4f}(vec4f(d * gelu4(x).zw, d * x.xy * geluDerivative4(x).zw));
}
