// Nearest-neighbour resize: y[b, i, j, :] = x[b, floor(i * scaleY), floor(j * scaleX), :].
// x: [batch, height, width, C], y: [batch, outHeight, outWidth, C], row-major.
// Defines: PICTURE the text of lib/picture.wgsl; VEC4.
struct Params { elements: u32, channels: u32, height: u32, width: u32, outHeight: u32, outWidth: u32, scaleY: f32, scaleX: f32 }
@group(0) @binding(0) var<storage, read> x: array<${x as Element}>;
@group(0) @binding(1) var<storage, read_write> y: array<${y as Element}>;
@group(0) @binding(2) var<uniform> params: Params;

${PICTURE}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.elements) { return; }
  let place = placeOf(index, params.outHeight, params.outWidth);
  let row = min(u32(f32(place.row) * params.scaleY), params.height - 1u);
  let column = min(u32(f32(place.column) * params.scaleX), params.width - 1u);
  y[index] = ${y as Element}(Element(x[indexAt(place, row, column, params.height, params.width)]));
}
