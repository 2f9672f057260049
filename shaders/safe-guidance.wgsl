// Safe Latent Diffusion guidance (arXiv 2211.05105, equations 3 to 8) with its momentum.
// x: [3 * count] = u (unconditional), c (prompt), s (safety concept); momentum, y, nextMomentum: [count].
// enabled: [1], above 0 once the warm-up is over (before that only the momentum gathers).
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether the size is a multiple of 4; `count` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, scale: f32, safetyScale: f32, threshold: f32, momentumScale: f32, beta: f32, oneMinusBeta: f32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read> momentum: array<Pack>;
@group(0) @binding(2) var<storage, read> enabled: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Pack>;
@group(0) @binding(4) var<storage, read_write> nextMomentum: array<Pack>;

fn element(index: u32) {
  let u = x[index];
  let c = x[params.count + index];
  let s = x[2u * params.count + index];
  let difference = c - s;
  let strength = min(abs(difference) * params.safetyScale, Pack(1.0));
  let masked = select(strength, Pack(), difference >= Pack(params.threshold));
  let previous = momentum[index];
  let safety = (s - u) * masked + params.momentumScale * previous;
  nextMomentum[index] = params.beta * previous + params.oneMinusBeta * safety;
  var direction = c - u;
  if (enabled[0] > 0.0) { direction -= safety; }
  y[index] = u + params.scale * direction;
}
