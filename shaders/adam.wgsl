// One Adam step with L2-form weight decay, as torch.optim.Adam (arXiv 1412.6980, algorithm 1):
//   g = gradient + weightDecay * p;  m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   p = p - (lr / (1 - beta1^t)) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
// parameter, gradient, m, v and the three outputs: any one shape, as vec4s.
// hyper: [8] = lr / (1 - beta1^t), beta1, 1 - beta1, beta2, 1 - beta2, sqrt(1 - beta2^t), eps, weightDecay. Defines: none.
struct Params { vectors: u32 }
@group(0) @binding(0) var<storage, read> parameter: array<vec4f>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(2) var<storage, read> m: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> hyper: array<f32>;
@group(0) @binding(5) var<storage, read_write> nextParameter: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> nextM: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> nextV: array<vec4f>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.vectors) { return; }
  let p = parameter[index];
  let g = gradient[index] + hyper[7] * p;
  let first = hyper[1] * m[index] + hyper[2] * g;
  let second = hyper[3] * v[index] + hyper[4] * (g * g);
  nextM[index] = first;
  nextV[index] = second;
  nextParameter[index] = p - hyper[0] * (first / (sqrt(second) / hyper[5] + vec4f(hyper[6])));
}
