// y[i, :] = table[ids[i] - first, :] for the ids in [first, first + rows); other outputs are another dispatch's,
// except that the dispatch with first = 0 writes zeros for ids at or above `vocabulary`.
// table: [rows, width] (one part of a table split by rows), ids: [count], y: [count, width], row-major.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether width is a multiple of 4 (`width` counts Packs); HALF (the table holds float16,
// two to a u32).
${POINTWISE}
${PACKS}

struct Params { count: u32, width: u32, first: u32, rows: u32, vocabulary: u32 }
#if ${HALF}
#if ${VEC4}
@group(0) @binding(0) var<storage, read> table: array<vec2u>;
fn load(at: u32) -> Pack {
  let words = table[at];
  return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
#else
@group(0) @binding(0) var<storage, read> table: array<u32>;
fn load(at: u32) -> Pack {
  let pair = unpack2x16float(table[at / 2u]);
  return select(pair.x, pair.y, at % 2u == 1u);
}
#endif
#else
@group(0) @binding(0) var<storage, read> table: array<Pack>;
fn load(at: u32) -> Pack { return table[at]; }
#endif
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Pack>;

fn element(index: u32) {
  let id = ids[index / params.width];
  if (id >= params.first && id - params.first < params.rows) {
    y[index] = load((id - params.first) * params.width + index % params.width);
  } else if (params.first == 0u && id >= params.vocabulary) {
    y[index] = Pack();
  }
}
