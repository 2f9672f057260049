// What an optimiser reads, with the factor of the gradients (the last number) made smaller where their norm is above a bound:
// torch.nn.utils.clip_grad_norm_. One thread per number.
// Bindings: squares: one number, the sum of squares of all gradients before the factor; hyper, y: count numbers. Defines: none.
${POINTWISE}

struct Params { count: u32, bound: f32 }

@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read> hyper: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn element(i: u32) {
  var value = hyper[i];
  if (i == params.count - 1u) {
    let norm = value * sqrt(squares[0]);
    value *= min(1.0, params.bound / (norm + 1e-6));
  }
  y[i] = value;
}
