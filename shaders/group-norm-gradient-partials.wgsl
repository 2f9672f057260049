// First of two steps of a large group norm's gradient: with h = (x - mean) * r and dz the cotangent before SiLU (dy itself without it),
// the sums of dz and of dz * h of every channel over chunks of positions. One thread per Pack of channels and chunk.
// (Summed over batch and chunks these are the gradients of beta and gamma.)
// Bindings: dy, x: [batch, positions, channels] as Packs; gamma, beta (with SILU): [channels]; statistics: mean and r, [batch, groups];
// sums, sumsH: [batch, chunks, channels] as Packs.
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; PACKS and CHUNK, the texts of lib/pack.wgsl and lib/chunk.wgsl; VEC4,
// whether channels is a multiple of 4; STATISTICS, the text of lib/group-statistics.wgsl.
${POINTWISE}
${ACTIVATIONS}
${PACKS}
${CHUNK}
${STATISTICS}

// count: threads; columns: Packs per position; perChunk: positions a thread takes, the last may take fewer; perGroup: channels in a group
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32, groups: u32, perGroup: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read> x: array<${x as Pack}>;
#if ${SILU}
@group(0) @binding(2) var<storage, read> gamma: array<Pack>;
@group(0) @binding(3) var<storage, read> beta: array<Pack>;
#endif
@group(0) @binding(4) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> sums: array<Pack>;
@group(0) @binding(6) var<storage, read_write> sumsH: array<Pack>;

fn element(i: u32) {
  let chunk = chunkOf(i);
  let norm = statisticsOf(chunk.batch, chunk.column);
  let mean = norm[0];
  let r = norm[1];
#if ${SILU}
  let scale = gamma[chunk.column];
  let shift = beta[chunk.column];
#endif
  var sum = Pack();
  var sumH = Pack();
  var at = chunk.at;
  for (var p = chunk.first; p < chunk.end; p++) {
    let h = (Pack(x[at]) - mean) * r;
    var d = Pack(dy[at]);
#if ${SILU}
    d *= packOf(siluDerivative4(vec4f(h * scale + shift)));
#endif
    sum += d;
    sumH += d * h;
    at += params.columns;
  }
  sums[i] = sum;
  sumsH[i] = sumH;
}
