// Gradient of the mean over all pixels: dx[b, i, j, :] = dy[b, :] * scale, scale = 1 / (height * width).
// dy: [batch, C], dx: [batch, pixels, C], row-major.
// Defines: VEC4 (C is a multiple of 4: an element is a vec4 of channels, `channels` counts vec4s).
struct Params { elements: u32, channels: u32, pixels: u32, scale: f32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> dy: array<Element>;
@group(0) @binding(1) var<storage, read_write> dx: array<Element>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let channel = index % params.channels;
  let batch = index / (params.channels * params.pixels);
  dx[index] = dy[batch * params.channels + channel] * params.scale;
}
