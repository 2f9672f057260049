// Gradient of the mean over all pixels: dx[b, i, j, :] = dy[b, :] * scale, scale = 1 / (height * width).
// dy: [batch, C], dx: [batch, pixels, C], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether C is a multiple of 4; `channels` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, channels: u32, pixels: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> dy: array<Pack>;
@group(0) @binding(1) var<storage, read_write> dx: array<Pack>;

fn element(index: u32) {
  let channel = index % params.channels;
  let batch = index / (params.channels * params.pixels);
  dx[index] = dy[batch * params.channels + channel] * params.scale;
}
