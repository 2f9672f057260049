// y = (x - mean) * r * gamma + beta, then SiLU if wanted, mean and r by group of channels. One thread per Pack of channels and chunk of
// positions, so that a channel's numbers are fetched once for several positions.
// Bindings: x, y: [batch, positions, channels] as Packs; gamma, beta: [channels]; statistics: mean and r = 1 / deviation, [batch, groups].
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; PACKS and CHUNK, the texts of lib/pack.wgsl and lib/chunk.wgsl; VEC4,
// whether channels is a multiple of 4; STATISTICS, the text of lib/group-statistics.wgsl.
${POINTWISE}
${ACTIVATIONS}
${PACKS}
${CHUNK}
${STATISTICS}

// count: threads; columns: Packs per position; perChunk: positions a thread takes, the last may take fewer; perGroup: channels in a group
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32, groups: u32, perGroup: u32 }

@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read> gamma: array<Pack>;
@group(0) @binding(2) var<storage, read> beta: array<Pack>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> y: array<${y as Pack}>;

fn element(i: u32) {
  let chunk = chunkOf(i);
  let norm = statisticsOf(chunk.batch, chunk.column);
  let mean = norm[0];
  let r = norm[1];
  let scale = r * gamma[chunk.column];
  let shift = beta[chunk.column];
  var at = chunk.at;
  for (var p = chunk.first; p < chunk.end; p++) {
    let z = (Pack(x[at]) - mean) * scale + shift;
#if ${SILU}
    y[at] = ${y as Pack}(packOf(silu4(vec4f(z))));
#else
    y[at] = ${y as Pack}(z);
#endif
    at += params.columns;
  }
}
