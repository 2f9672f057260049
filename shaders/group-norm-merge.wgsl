// Statistics of a whole from those of its parts (Chan et al.): part i has `count` positions, the last one `last`.
// parts [parts, rows] and statistics [rows], each (mean, 1 / sqrt(variance + epsilon)); rows: batch * groups.
struct Params { rows: u32, parts: u32, count: f32, last: f32, epsilon: f32 }
@group(0) @binding(0) var<storage, read> parts: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> statistics: array<vec2f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  if (row >= params.rows) { return; }
  let total = params.count * f32(params.parts - 1u) + params.last;
  var mean = 0.0;
  for (var i = 0u; i < params.parts; i++) {
    mean += parts[i * params.rows + row].x * (select(params.count, params.last, i + 1u == params.parts) / total);
  }
  var variance = 0.0;
  for (var i = 0u; i < params.parts; i++) {
    let part = parts[i * params.rows + row];
    let apart = part.x - mean;
    variance += (1.0 / (part.y * part.y) - params.epsilon + apart * apart) * (select(params.count, params.last, i +
      1u == params.parts) / total);
  }
  statistics[row] = vec2f(mean, 1.0 / sqrt(max(variance, 0.0) + params.epsilon));
}
