// Statistics of a whole from those of its parts (Chan et al.): part i has `positions`, the last one `last`.
// parts [parts, rows] and statistics [rows], each (mean, 1 / sqrt(variance + epsilon)). One thread per row: batch * groups.
${POINTWISE}

struct Params { count: u32, parts: u32, positions: f32, last: f32, epsilon: f32 }
@group(0) @binding(0) var<storage, read> parts: array<vec2f>;
@group(0) @binding(1) var<storage, read_write> statistics: array<vec2f>;

fn shareOf(part: u32, total: f32) -> f32 { return select(params.positions, params.last, part + 1u == params.parts) / total; }

fn element(row: u32) {
  let total = params.positions * f32(params.parts - 1u) + params.last;
  var mean = 0.0;
  for (var i = 0u; i < params.parts; i++) {
    mean += parts[i * params.count + row].x * shareOf(i, total);
  }
  var variance = 0.0;
  for (var i = 0u; i < params.parts; i++) {
    let part = parts[i * params.count + row];
    let apart = part.x - mean;
    variance += (1.0 / (part.y * part.y) - params.epsilon + apart * apart) * shareOf(i, total);
  }
  statistics[row] = vec2f(mean, 1.0 / sqrt(max(variance, 0.0) + params.epsilon));
}
