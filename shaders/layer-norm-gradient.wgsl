// Input gradient of layer norm: with h = (x - mean) * r and d = dy * gamma, dx = r * (d - mean(d) - h * mean(d * h)) + residual
// over each row.
// Bindings: dy, x, residual, dx: Packs; gamma: one row; statistics: mean and r = 1 / sqrt(variance + epsilon) of each row.
// Defines: ROW and PACKS, the texts of lib/row.wgsl, with its defines, and lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
${ROW}
${PACKS}

// width: Packs in a row
struct Params { rows: u32, width: u32, hasResidual: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(2) var<storage, read> gamma: array<Pack>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read> residual: array<${residual as Pack}>;
@group(0) @binding(5) var<storage, read_write> dx: array<${dx as Pack}>;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = row * params.width;
  let mean = statistics[row].x;
  let r = statistics[row].y;
  var sumD = Pack();
  var sumDH = Pack();
  for (var i = lane; i < params.width; i += LANES) {
    let d = Pack(dy[base + i]) * gamma[i];
    sumD += d;
    sumDH += d * ((Pack(x[base + i]) - mean) * r);
  }
  let n = f32(params.width * PACK);
  let meanD = rowSum(packSum(sumD), lane) / n;
  let meanDH = rowSum(packSum(sumDH), lane) / n;
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      let d = Pack(dy[base + i]) * gamma[i];
      let h = (Pack(x[base + i]) - mean) * r;
      var result = r * (d - meanD - h * meanDH);
      if (params.hasResidual != 0u) { result += Pack(residual[base + i]); }
      dx[base + i] = ${dx as Pack}(result);
    }
  }
}
