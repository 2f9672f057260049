// First of two steps of a large group norm's statistics: mean and sum of squared deviations of every channel over chunks of positions,
// taken from the chunk's first value on, which keeps the squares small where the mean is large. One thread per Pack of channels and chunk.
// Bindings: x: [batch, positions, channels] as Packs; means, squares: [batch, chunks, channels] as Packs.
// Defines: PACKS and CHUNK, the texts of lib/pack.wgsl and lib/chunk.wgsl; VEC4, whether channels is a multiple of 4.
${POINTWISE}
${PACKS}
${CHUNK}

// count: threads; columns: Packs per position; perChunk: positions in a chunk, the last may have fewer
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32 }

@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read_write> means: array<Pack>;
@group(0) @binding(2) var<storage, read_write> squares: array<Pack>;

fn element(i: u32) {
  let chunk = chunkOf(i);
  var at = chunk.at;
  let origin = Pack(x[at]);
  var sum = Pack();
  var square = Pack();
  for (var p = chunk.first + 1u; p < chunk.end; p++) {
    at += params.columns;
    let d = Pack(x[at]) - origin;
    sum += d;
    square += d * d;
  }
  let shift = sum / f32(chunk.end - chunk.first);
  means[i] = origin + shift;
  squares[i] = max(square - sum * shift, Pack());
}
