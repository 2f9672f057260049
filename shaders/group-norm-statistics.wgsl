// Mean and 1 / sqrt(variance + epsilon) of every group of channels over all positions; biased variance, two readings; the second also
// finds what rounding left out of the mean.
// Either straight from x, or (PARTIALS) from the means and squared deviations of group-norm-partials, combined exactly (Chan et al.);
// "positions" then counts chunks. One row of lanes per batch entry and group.
// Bindings: x, or means and squares: [batch, positions, channels] as Packs; statistics: [batch, groups].
// Defines: PARTIALS; ROW, PACKS and WALK, the texts of lib/row.wgsl, with its defines, lib/pack.wgsl and lib/group-walk.wgsl; VEC4, whether
// the channels of a group are a multiple of 4.
${ROW}
${WALK}
${PACKS}

// rows: batch * groups; columns: Packs per position; perGroup: Packs per group and position;
// perChunk: what one entry stands for (1 without PARTIALS), of total positions
struct Params { rows: u32, groups: u32, positions: u32, columns: u32, perGroup: u32, perChunk: u32, total: u32, epsilon: f32 }

#if ${PARTIALS}
@group(0) @binding(0) var<storage, read> means: array<Pack>;
@group(0) @binding(1) var<storage, read> squares: array<Pack>;
#else
@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
#endif
@group(0) @binding(2) var<storage, read_write> statistics: array<vec2f>;

#if ${PARTIALS}
// How many positions the chunk holds.
fn weight(chunk: u32) -> f32 {
  return f32(min(params.perChunk, params.total - chunk * params.perChunk));
}
#endif

fn reduce(row: u32, lane: u32, live: bool) {
  let base = startOf(row);
  let step = spotOf(LANES);
  var sum = 0.0;
  for (var spot = spotOf(lane); spot.position < params.positions; spot = after(spot, step)) {
    let at = base + spot.position * params.columns + spot.channel;
#if ${PARTIALS}
    sum += weight(spot.position) * packSum(means[at]);
#else
    sum += packSum(Pack(x[at]));
#endif
  }
  let n = f32(params.total) * f32(params.perGroup * PACK);
  let mean = rowSum(sum, lane) / n;
  var residual = 0.0;
  sum = 0.0;
  for (var spot = spotOf(lane); spot.position < params.positions; spot = after(spot, step)) {
    let at = base + spot.position * params.columns + spot.channel;
#if ${PARTIALS}
    let d = means[at] - mean;
    residual += weight(spot.position) * packSum(d);
    sum += packSum(squares[at] + weight(spot.position) * d * d);
#else
    let d = Pack(x[at]) - mean;
    residual += packSum(d);
    sum += packSum(d * d);
#endif
  }
  let correction = rowSum(residual, lane) / n;
  let variance = max(rowSum(sum, lane) / n - correction * correction, 0.0);
  if (live && lane == 0u) { statistics[row] = vec2f(mean + correction, 1.0 / sqrt(variance + params.epsilon)); }
}
