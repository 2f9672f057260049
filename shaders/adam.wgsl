// One Adam step with L2-form weight decay, as torch.optim.Adam (arXiv 1412.6980, algorithm 1), or with decoupled decay, as
// torch.optim.AdamW:
//   g = gradient + weightDecay * p, or p = p * (1 - lr * weightDecay);  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   p = p - (lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// parameter, gradient, m, v and the three outputs: any one shape, as vec4s; halves: the new parameter, four halves in two words.
// hyper: [10] = lr / (1 - beta1^t), beta1, 1 - beta1, beta2, 1 - beta2, sqrt(1 - beta2^t), eps, weightDecay, 1 - lr * weightDecay, scale of
// the gradient.
// Defines: IN_PLACE (parameter, m and v are the outputs), DECOUPLED, SCALED (the gradient is scaled first), HALVED.
${POINTWISE}

struct Params { count: u32 }
#if ${IN_PLACE}
#else
@group(0) @binding(0) var<storage, read> parameter: array<vec4f>;
@group(0) @binding(2) var<storage, read> m: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
#endif
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> hyper: array<f32>;
@group(0) @binding(5) var<storage, read_write> nextParameter: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> nextM: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> nextV: array<vec4f>;
#if ${HALVED}
@group(0) @binding(8) var<storage, read_write> halves: array<vec2u>;
#endif

fn element(index: u32) {
#if ${IN_PLACE}
  var p = nextParameter[index];
  let oldM = nextM[index];
  let oldV = nextV[index];
#else
  var p = parameter[index];
  let oldM = m[index];
  let oldV = v[index];
#endif
  var g = gradient[index];
#if ${SCALED}
  g *= hyper[9];
#endif
#if ${DECOUPLED}
  p *= hyper[8];
#else
  g += hyper[7] * p;
#endif
  let first = hyper[1] * oldM + hyper[2] * g;
  let second = hyper[3] * oldV + hyper[4] * (g * g);
  nextM[index] = first;
  nextV[index] = second;
  let next = p - hyper[0] * (first / (sqrt(second) / hyper[5] + vec4f(hyper[6])));
  nextParameter[index] = next;
#if ${HALVED}
  halves[index] = vec2u(pack2x16float(next.xy), pack2x16float(next.zw));
#endif
}
