// Mean over all pixels: y[b, :] = mean of x[b, i, j, :]. Summed row by row first, so that the error grows with height + width, not with
// their product. x: [batch, height, width, C], y: [batch, C], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether C is a multiple of 4; `channels` counts Packs.
${POINTWISE}
${PACKS}

struct Params { count: u32, channels: u32, height: u32, width: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

fn element(index: u32) {
  let channel = index % params.channels;
  var at = index / params.channels * params.height * params.width * params.channels + channel;
  var total = Pack();
  for (var row = 0u; row < params.height; row++) {
    var sum = Pack();
    for (var column = 0u; column < params.width; column++) {
      sum += x[at];
      at += params.channels;
    }
    total += sum;
  }
  y[index] = total * params.scale;
}
