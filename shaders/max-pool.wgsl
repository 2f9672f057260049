// Maximum over size x size windows, stride `stride`, `padding` pixels of -infinity on every side.
// x: [batch, height, width, C], y: [batch, outHeight, outWidth, C], row-major.
// Defines: VEC4 (C is a multiple of 4: an element is a vec4 of channels, `channels` counts vec4s).
struct Params { elements: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, size: u32, stride: u32, padding: u32 }
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
  var rest = index / params.channels;
  let outColumn = rest % params.outWidth;
  rest /= params.outWidth;
  let outRow = rest % params.outHeight;
  let batch = rest / params.outHeight;
  // The part of the window that lies inside the image; never empty, since padding is at most half the window.
  let top = outRow * params.stride;
  let left = outColumn * params.stride;
  let rowBegin = max(top, params.padding) - params.padding;
  let rowEnd = min(top + params.size - params.padding, params.height);
  let columnBegin = max(left, params.padding) - params.padding;
  let columnEnd = min(left + params.size - params.padding, params.width);
  var best = x[((batch * params.height + rowBegin) * params.width + columnBegin) * params.channels + channel];
  for (var row = rowBegin; row < rowEnd; row++) {
    for (var column = columnBegin; column < columnEnd; column++) {
      best = max(best, x[((batch * params.height + row) * params.width + column) * params.channels + channel]);
    }
  }
  y[index] = best;
}
