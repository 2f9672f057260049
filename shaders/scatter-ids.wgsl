// y = ids with y[positions[j]] = chosen[j % chosenCount]; of equal positions the last wins, positions at or above `length` are ignored.
// ids, y: [length] u32; chosen: [chosenCount], positions: [count] u32. Defines: none.
struct Params { length: u32, count: u32, chosenCount: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * 64u + lane;
  if (index >= params.length) { return; }
  var id = ids[index];
  for (var j = 0u; j < params.count; j++) {
    if (positions[j] == index) { id = chosen[j % params.chosenCount]; }
  }
  y[index] = id;
}
