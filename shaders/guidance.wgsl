// Classifier-free guidance: y = u + scale * (c - u).
// x: [2 * count] = u (unconditional) then c (conditional), y: [count].
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether the size is a multiple of 4; `count` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

fn element(index: u32) {
  let u = x[index];
  y[index] = u + params.scale * (x[params.count + index] - u);
}
