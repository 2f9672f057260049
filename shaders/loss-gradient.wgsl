// Gradient of a mean loss for one of its two tensors: dx = dLoss * factor * (x - reference), or dLoss * factor * sign(x - reference). One
// thread per vec4. The factor carries 2 / elements or 1 / elements, and a minus sign for the second tensor.
// Bindings: dLoss: one f32; x, reference, dx: count vec4s each.
// Defines: SQUARED.
${POINTWISE}

struct Params { count: u32, factor: f32 }

@group(0) @binding(0) var<storage, read> dLoss: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> reference: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4f>;

fn element(i: u32) {
  let d = x[i] - reference[i];
#if ${SQUARED}
  dx[i] = dLoss[0] * params.factor * d;
#else
  dx[i] = dLoss[0] * params.factor * sign(d);
#endif
}
