// A thread takes one column of Packs over a chunk of the positions of [batch, positions, columns]: thread i the i-th of
// [batch, chunks, columns]. Of struct Params it reads positions, columns, chunks and perChunk (of the last chunk there may be fewer).
struct Chunk { batch: u32, column: u32, first: u32, end: u32, at: u32 } // positions [first, end), the first of them at index `at`
fn chunkOf(i: u32) -> Chunk {
  let column = i % params.columns;
  let batch = i / (params.columns * params.chunks);
  let first = ((i / params.columns) % params.chunks) * params.perChunk;
  return Chunk(batch, column, first, min(first + params.perChunk, params.positions),
    (batch * params.positions + first) * params.columns + column);
}
