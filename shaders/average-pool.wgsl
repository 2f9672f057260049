// Mean over all pixels: y[b, :] = mean of x[b, i, j, :]. Summed row by row first, so that the error grows with height + width, not with
// their product. x: [batch, height, width, C], y: [batch, C], row-major.
// Defines: VEC4 (C is a multiple of 4: an element is a vec4 of channels, `channels` counts vec4s).
struct Params { elements: u32, channels: u32, height: u32, width: u32, scale: f32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> y: array<Element>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let channel = index % params.channels;
  var at = index / params.channels * params.height * params.width * params.channels + channel;
  var total = Element();
  for (var row = 0u; row < params.height; row++) {
    var sum = Element();
    for (var column = 0u; column < params.width; column++) {
      sum += x[at];
      at += params.channels;
    }
    total += sum;
  }
  y[index] = total * params.scale;
}
