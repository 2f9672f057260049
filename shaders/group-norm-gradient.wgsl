// Input gradient of group norm (with SiLU if it was fused): with h = (x - mean) * r and d = gamma * dz, dz the cotangent before SiLU,
// dx = r * (d - mean(d) - h * mean(d * h)) + residual, the means by group. One thread per Pack of channels and chunk of positions.
// Bindings: dy, x, residual, dx: [batch, positions, channels] as Packs; gamma, beta (with SILU): [channels];
// statistics: (mean, r, mean of d, mean of d * h), [batch, groups].
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; PACKS and CHUNK, the texts of lib/pack.wgsl and lib/chunk.wgsl; VEC4,
// whether channels is a multiple of 4; STATISTICS, the text of lib/group-statistics.wgsl, with its MOMENTS.
${POINTWISE}
${ACTIVATIONS}
${PACKS}
${CHUNK}
${STATISTICS}

// count: threads; columns: Packs per position; perChunk: positions a thread takes, the last may take fewer; perGroup: channels in a group
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32, groups: u32, perGroup: u32, hasResidual: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(2) var<storage, read> gamma: array<Pack>;
#if ${SILU}
@group(0) @binding(3) var<storage, read> beta: array<Pack>;
#endif
@group(0) @binding(4) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(5) var<storage, read> residual: array<${residual as Pack}>;
@group(0) @binding(6) var<storage, read_write> dx: array<${dx as Pack}>;

fn element(i: u32) {
  let chunk = chunkOf(i);
  let norm = statisticsOf(chunk.batch, chunk.column);
  let mean = norm[0];
  let r = norm[1];
  let meanD = norm[2];
  let meanDH = norm[3];
  let scale = gamma[chunk.column];
#if ${SILU}
  let shift = beta[chunk.column];
#endif
  var at = chunk.at;
  for (var p = chunk.first; p < chunk.end; p++) {
    let h = (Pack(x[at]) - mean) * r;
    var d = scale * Pack(dy[at]);
#if ${SILU}
    d *= packOf(siluDerivative4(vec4f(h * scale + shift)));
#endif
    var result = r * (d - meanD - h * meanDH);
    if (params.hasResidual != 0u) { result += Pack(residual[at]); }
    dx[at] = ${dx as Pack}(result);
    at += params.columns;
  }
}
