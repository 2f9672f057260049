// Sums over the rows of [batch, rows, width], a chunk of rows at a time: y = [batch, chunks, width]. One thread per Pack of y.
// Run a second time on its own result (chunks as rows) it gives the whole sum.
// Bindings: x, y.
// Defines: PACKS and CHUNK, the texts of lib/pack.wgsl and lib/chunk.wgsl; VEC4, whether width is a multiple of 4.
${POINTWISE}
${PACKS}
${CHUNK}

// count: Packs in y; positions: rows; columns: Packs in a row
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32 }

@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

fn element(i: u32) {
  let chunk = chunkOf(i);
  var sum = Pack();
  var at = chunk.at;
  for (var p = chunk.first; p < chunk.end; p++) {
    sum += x[at];
    at += params.columns;
  }
  y[i] = sum;
}
