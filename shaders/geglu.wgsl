// y = value * gelu(gate), x = [rows, 2 width] holding value in the first half of each row and gate in the second, y = [rows, width].
// A thread takes `each` Packs of y, 64 apart.
// Bindings: x, y.
// Defines: ACTIVATIONS, the text of lib/activations.wgsl; PACKS, of lib/pack.wgsl; VEC4, whether width is a multiple of 4.

${ACTIVATIONS}
${PACKS}

// count: Packs in y; width: Packs in a row of y
struct Params { count: u32, width: u32, each: u32 }

@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let first = (workgroup.x + workgroup.y * workgroups.x) * 64u * params.each + local;
  for (var n = 0u; n < params.each; n++) {
    let i = first + n * 64u;
    if (i >= params.count) { return; }
    let value = i + (i / params.width) * params.width;
    let gate = value + params.width;
    y[i] = x[value] * packOf(gelu4(vec4f(x[gate])));
  }
}
