// Activation functions and their derivatives on vec4f, shared by the elementwise kernels and by fused epilogues. Takes no defines.
// No exponential here can overflow: each is taken of a number that is never positive.

// 1 / (1 + exp(-x))
fn sigmoid4(x: vec4f) -> vec4f {
  let e = exp(-abs(x));
  return select(e, vec4f(1.0), x >= vec4f(0.0)) / (1.0 + e);
}

// x sigmoid(x)
fn silu4(x: vec4f) -> vec4f {
  return x * sigmoid4(x);
}

fn siluDerivative4(x: vec4f) -> vec4f {
  let s = sigmoid4(x);
  return s * (1.0 + x * (1.0 - s));
}

// x sigmoid(1.702 x), CLIP's "quick_gelu"
fn quickGelu4(x: vec4f) -> vec4f {
  return x * sigmoid4(1.702 * x);
}

fn quickGeluDerivative4(x: vec4f) -> vec4f {
  let s = sigmoid4(1.702 * x);
  return s * (1.0 + 1.702 * x * (1.0 - s));
}

// The standard normal's cumulative distribution at x, given bell = exp(-x x / 2).
// erfc(a) = exp(-a a) t P(t), t = 1 / (1 + 0.35 a), a = abs(x) / sqrt(2) (the form of Abramowitz and Stegun 7.1.26 with two terms more;
// P is a minimax fit of our own): erfc is within 1.4e-8 before rounding, and the lower tail keeps its relative accuracy.
fn normalCdf4(x: vec4f, bell: vec4f) -> vec4f {
  let t = 1.0 / (1.0 + 0.24748737 * abs(x));
  var p = vec4f(-0.2037299718);
  p = p * t + 0.7996390244;
  p = p * t - 0.7340602401;
  p = p * t + 0.7398262985;
  p = p * t - 0.04030000834;
  p = p * t + 0.2454840455;
  p = p * t + 0.193140838;
  let tail = 0.5 * bell * t * p;
  return select(tail, 1.0 - tail, x >= vec4f(0.0));
}

// x cdf(x), the exact (erf) GELU
fn gelu4(x: vec4f) -> vec4f {
  return x * normalCdf4(x, exp(-0.5 * x * x));
}

fn geluDerivative4(x: vec4f) -> vec4f {
  let bell = exp(-0.5 * x * x);
  return normalCdf4(x, bell) + 0.3989422804 * x * bell;
}

fn relu4(x: vec4f) -> vec4f {
  return max(x, vec4f(0.0));
}

// 0 at 0, as torch
fn reluDerivative4(x: vec4f) -> vec4f {
  return select(vec4f(0.0), vec4f(1.0), x > vec4f(0.0));
}

// 0 of what is not above 0
fn sqrt4(x: vec4f) -> vec4f {
  return sqrt(max(x, vec4f(0.0)));
}

fn sqrtDerivative4(x: vec4f) -> vec4f {
  return select(vec4f(0.0), 0.5 / sqrt(max(x, vec4f(1e-30))), x > vec4f(0.0));
}
