// Safe Latent Diffusion guidance (arXiv 2211.05105, equations 3 to 8) with its momentum.
// x: [3 * part] = u (unconditional), c (prompt), s (safety concept); momentum, y, nextMomentum: [part].
// enabled: [1], above 0 once the warm-up is over (before that only the momentum gathers).
// Defines: VEC4 (part is a multiple of 4: an element is a vec4 and `part` counts vec4s).
struct Params { part: u32, scale: f32, safetyScale: f32, threshold: f32, momentumScale: f32, beta: f32, oneMinusBeta: f32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> momentum: array<Element>;
@group(0) @binding(2) var<storage, read> enabled: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Element>;
@group(0) @binding(4) var<storage, read_write> nextMomentum: array<Element>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.part) { return; }
  let u = x[index];
  let c = x[params.part + index];
  let s = x[2u * params.part + index];
  let difference = c - s;
  let strength = min(abs(difference) * params.safetyScale, Element(1.0));
  let masked = select(strength, Element(), difference >= Element(params.threshold));
  let previous = momentum[index];
  let safety = (s - u) * masked + params.momentumScale * previous;
  nextMomentum[index] = params.beta * previous + params.oneMinusBeta * safety;
  var direction = c - u;
  if (enabled[0] > 0.0) { direction -= safety; }
  y[index] = u + params.scale * direction;
}
