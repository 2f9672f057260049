// Nearest-neighbour resize: y[b, i, j, :] = x[b, floor(i * scaleY), floor(j * scaleX), :].
// x: [batch, height, width, C], y: [batch, outHeight, outWidth, C], row-major.
// Defines: VEC4 (C is a multiple of 4: an element is a vec4 of channels, `channels` counts vec4s).
struct Params { elements: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, scaleY: f32, scaleX: f32 }
#if ${VEC4}
alias Element = vec4f;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<${x as Element}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Element}>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let channel = index % params.channels;
  var rest = index / params.channels;
  let column = rest % params.outWidth;
  rest /= params.outWidth;
  let row = rest % params.outHeight;
  let batch = rest / params.outHeight;
  let sourceRow = min(u32(f32(row) * params.scaleY), params.height - 1u);
  let sourceColumn = min(u32(f32(column) * params.scaleX), params.width - 1u);
  y[index] = ${y as Element}(Element(x[((batch * params.height + sourceRow) * params.width + sourceColumn) * params.channels + channel]));
}
