// Gradient of classifier-free guidance: dx = ((1 - scale) * dy, scale * dy).
// dy: [count], dx: [2 * count].
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether the size is a multiple of 4; `count` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> dy: array<Pack>;
@group(0) @binding(1) var<storage, read_write> dx: array<Pack>;

fn element(index: u32) {
  let d = dy[index];
  dx[index] = (1.0 - params.scale) * d;
  dx[params.count + index] = params.scale * d;
}
