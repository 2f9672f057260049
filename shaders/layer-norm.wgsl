// y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over each row of [rows, width]; biased variance.
// Each lane takes mean and squared deviations of its share, from the share's first values on, which keeps the squares small where the
// mean is large; the shares are then combined exactly (Chan et al.), so x is read twice only.
// Bindings: x, y: Packs; gamma, beta: one row; statistics: mean and 1 / sqrt(variance + epsilon) of each row.
// Defines: ROW and PACKS, the texts of lib/row.wgsl, with its defines, and lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
${ROW}
${PACKS}

// width: Packs in a row
struct Params { rows: u32, width: u32, epsilon: f32 }

@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read> gamma: array<Pack>;
@group(0) @binding(2) var<storage, read> beta: array<Pack>;
@group(0) @binding(3) var<storage, read_write> y: array<${y as Pack}>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2f>;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = row * params.width;
  let origin = Pack(x[base + min(lane, params.width - 1u)]);
  var count = 0.0;
  var sum = Pack();
  var squares = Pack();
  for (var i = lane; i < params.width; i += LANES) {
    count += 1.0;
    let d = Pack(x[base + i]) - origin;
    sum += d;
    squares += d * d;
  }
  // A lane without a share counts nothing.
  let shift = sum / max(count, 1.0);
  let mean = origin + shift;
  squares -= sum * shift;
  let n = f32(params.width * PACK);
  let roughMean = rowSum(count * packSum(mean), lane) / n;
  // What rounding left out of the mean.
  let correction = rowSum(count * packSum(mean - roughMean), lane) / n;
  let rowMean = roughMean + correction;
  let offset = mean - rowMean;
  let variance = max(rowSum(packSum(squares + count * offset * offset), lane) / n, 0.0);
  let inverseDeviation = 1.0 / sqrt(variance + params.epsilon);
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      y[base + i] = ${y as Pack}((Pack(x[base + i]) - rowMean) * inverseDeviation * gamma[i] + beta[i]);
    }
    if (lane == 0u) { statistics[row] = vec2f(rowMean, inverseDeviation); }
  }
}
