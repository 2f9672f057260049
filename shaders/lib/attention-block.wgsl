// What the tiled attention shaders share: products of tiles in workgroup memory, their results in registers.
// A workgroup is a grid of THREAD_ROWS x THREAD_COLUMNS threads. It owns a block of rows (of queries, or of keys in the gradient of keys
// and values) and walks over blocks of columns (the other ones). A thread has ROWS rows, every THREAD_ROWS-th one of the block; of scores
// GROUPS groups of four neighbouring columns; and of an output COLUMNS pieces of the head, every THREAD_COLUMNS-th one (a piece is a vec4,
// or a number where vec4s would leave threads idle). For each vec4 that a thread reads of 8 rows and 8 columns it does 16 fused
// multiply-adds per lane: what bounds such a kernel is reads of workgroup memory, 8 FLOP for each number at 8 x 8, 5 at 8 x 4, 4 at 4 x 4.
// Loops over what lies in registers are written out: arrays that a loop counted through lay in memory on an H100, and took twice as long as
// the plain form. The includer has the text of lib/attention-pass.wgsl.
// Other defines: WALK, the text of lib/attention-walk.wgsl; FOURS, ROWS / 4; HEAD_VEC4 vec4s of a head; CHUNK of them staged at a time for
// scores; VALUE_ROWS rows of columns staged at a time for an output; TILE_VEC4 vec4s of workgroup memory.
const THREAD_ROWS = ${THREAD_ROWS}u;
const THREAD_COLUMNS = ${THREAD_COLUMNS}u;
const THREADS = THREAD_ROWS * THREAD_COLUMNS;
const ROWS = ${ROWS}u;
const FOURS = ${FOURS}u;
const GROUPS = ${GROUPS}u;
const COLUMNS = ${COLUMNS}u;
const HEAD_VEC4 = ${HEAD_VEC4}u;
const BLOCK_ROWS = THREAD_ROWS * ROWS;
const GROUP_COLUMNS = 4u * THREAD_COLUMNS;
const BLOCK_COLUMNS = GROUPS * GROUP_COLUMNS;

// Workgroup memory. Scores: a chunk of the head of every row, then of every column. Outputs: the weights of a group for every row, then
// VALUE_ROWS rows. Rows lie an odd number of vec4s apart, so that neighbouring threads read different banks.
const CHUNK = ${CHUNK}u;
const STRIDE = CHUNK | 1u;
const WEIGHTS_STRIDE = THREAD_COLUMNS + 1u;
const VALUES = BLOCK_ROWS * WEIGHTS_STRIDE;
const VALUE_ROWS = ${VALUE_ROWS}u;
var<workgroup> tile: array<vec4f, ${TILE_VEC4}>;

#if ${VEC4}
const PIECES = HEAD_VEC4;
fn valueAt(row: u32, column: u32) -> Piece { return tile[VALUES + row * HEAD_VEC4 + column]; }
#else
const PIECES = 4u * HEAD_VEC4;
fn valueAt(row: u32, column: u32) -> Piece { return tile[VALUES + row * HEAD_VEC4 + column / 4u][column & 3u]; }
#endif
const PIECES_OF_VEC4 = PIECES / HEAD_VEC4;

alias PerRow = array<vec4f, FOURS>; // a number of each of a thread's rows
alias Scores = array<vec4f, ROWS * GROUPS>; // of row i and group g at i * GROUPS + g
alias Output = array<Piece, ROWS * COLUMNS>; // of row i and piece c at i * COLUMNS + c

${WALK}
// Stages a chunk of the head, from vec4 `chunk` on, of the block of rows that begins at `first`. Rows past the end repeat the last one.
fn stageRows(tensor: u32, source: Source, first: u32, chunk: u32, factor: f32, local: u32) {
  for (var e = local; e < BLOCK_ROWS * CHUNK; e += THREADS) {
    tile[(e / CHUNK) * STRIDE + e % CHUNK] = factor * chunkAt(tensor, source, first + e / CHUNK, chunk + e % CHUNK);
  }
}

// The same for a block of columns. The four neighbours that are one thread's lie THREAD_COLUMNS rows apart, as neighbouring threads read at
// once.
fn stageColumns(tensor: u32, source: Source, first: u32, chunk: u32, local: u32) {
  for (var e = local; e < BLOCK_COLUMNS * CHUNK; e += THREADS) {
    let column = e / CHUNK;
    let inGroup = column % GROUP_COLUMNS;
    let place = column - inGroup + (inGroup % 4u) * THREAD_COLUMNS + inGroup / 4u;
    tile[(BLOCK_ROWS + place) * STRIDE + e % CHUNK] = chunkAt(tensor, source, first + column, chunk + e % CHUNK);
  }
}

fn chunkAt(tensor: u32, source: Source, row: u32, i: u32) -> vec4f {
  let x = load(tensor, source.start + min(row, source.count - 1u) * source.stride + min(i, HEAD_VEC4 - 1u));
  return select(vec4f(), x, i < HEAD_VEC4);
}

// scores + rows columns^T over the staged chunk.
fn addProducts(scores: ptr<function, Scores>, at: vec2u) {
  for (var e = 0u; e < CHUNK; e++) {
    var x: array<vec4f, ROWS>;
#unroll i < ${ROWS}
    x[$i] = tile[(at.x + $i * THREAD_ROWS) * STRIDE + e];
#endunroll
#unroll g < ${GROUPS}
    {
      let first = (BLOCK_ROWS + $g * GROUP_COLUMNS + at.y) * STRIDE + e;
      let y = transpose(mat4x4f(tile[first], tile[first + THREAD_COLUMNS * STRIDE], tile[first + 2u * THREAD_COLUMNS * STRIDE],
        tile[first + 3u * THREAD_COLUMNS * STRIDE]));
#unroll i < ${ROWS}
      {
        var s = (*scores)[$i * GROUPS + $g];
        s = fma(vec4f(x[$i].x), y[0], s);
        s = fma(vec4f(x[$i].y), y[1], s);
        s = fma(vec4f(x[$i].z), y[2], s);
        s = fma(vec4f(x[$i].w), y[3], s);
        (*scores)[$i * GROUPS + $g] = s;
      }
#endunroll
    }
#endunroll
  }
}

// scores = factor rows columns^T over the whole head.
fn product(scores: ptr<function, Scores>, rowTensor: u32, rows: Source, firstRow: u32, factor: f32, columnTensor: u32, columns: Source,
  firstColumn: u32, at: vec2u, local: u32) {
  *scores = Scores();
  for (var chunk = 0u; chunk < HEAD_VEC4; chunk += CHUNK) {
    workgroupBarrier();
    stageRows(rowTensor, rows, firstRow, chunk, factor, local);
    stageColumns(columnTensor, columns, firstColumn, chunk, local);
    workgroupBarrier();
    addProducts(scores, at);
  }
}

// out + weights columns over a block of columns: a group of weights goes through workgroup memory at a time, so that every thread has those
// of its rows.
fn addWeighted(out: ptr<function, Output>, weights: ptr<function, Scores>, tensor: u32, columns: Source, first: u32, at: vec2u,
  local: u32) {
#unroll g < ${GROUPS}
  {
    for (var part = 0u; part < GROUP_COLUMNS; part += VALUE_ROWS) {
      workgroupBarrier();
      if (part == 0u) {
#unroll i < ${ROWS}
        tile[(at.x + $i * THREAD_ROWS) * WEIGHTS_STRIDE + at.y] = (*weights)[$i * GROUPS + $g];
#endunroll
      }
      let begin = first + $g * GROUP_COLUMNS + part;
      for (var e = local; e < VALUE_ROWS * HEAD_VEC4; e += THREADS) {
        tile[VALUES + e] = load(tensor, columns.start + min(begin + e / HEAD_VEC4, columns.count - 1u) * columns.stride + e % HEAD_VEC4);
      }
      workgroupBarrier();
      addRows(out, part / 4u, at);
    }
  }
#endunroll
}

// out + weights values for the staged rows, whose weights begin at vec4 `firstWeight` of each row.
fn addRows(out: ptr<function, Output>, firstWeight: u32, at: vec2u) {
  for (var n = 0u; n < VALUE_ROWS / 4u; n++) {
    var w: array<vec4f, ROWS>;
#unroll i < ${ROWS}
    w[$i] = tile[(at.x + $i * THREAD_ROWS) * WEIGHTS_STRIDE + firstWeight + n];
#endunroll
#unroll c < ${COLUMNS}
    {
      let column = at.y + $c * THREAD_COLUMNS; // past the head's end it is another row's, or nothing's: computed and not stored
      let v0 = valueAt(4u * n, column);
      let v1 = valueAt(4u * n + 1u, column);
      let v2 = valueAt(4u * n + 2u, column);
      let v3 = valueAt(4u * n + 3u, column);
#unroll i < ${ROWS}
      {
        var sum = (*out)[$i * COLUMNS + $c];
        sum = fma(Piece(w[$i].x), v0, sum);
        sum = fma(Piece(w[$i].y), v1, sum);
        sum = fma(Piece(w[$i].z), v2, sum);
        sum = fma(Piece(w[$i].w), v3, sum);
        (*out)[$i * COLUMNS + $c] = sum;
      }
#endunroll
    }
#endunroll
  }
}
