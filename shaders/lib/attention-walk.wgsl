// How a workgroup of the forms that compute by blocks walks: it owns BLOCK_ROWS rows (of queries, or of keys in the gradient of keys and
// values), and takes the columns (the other ones) BLOCK_COLUMNS at a time. The includer has both constants, and struct Params.

// Rows of one batch entry and head: the first one's first vec4, vec4s from row to row, and how many there are.
struct Source { start: u32, stride: u32, count: u32 }

// What a workgroup does: BLOCK_ROWS rows from `first` on of one head of one batch entry, over one part of the columns. Beyond the last one
// `real` is false.
struct Block { first: u32, head: u32, batch: u32, split: u32, real: bool }
fn blockOf(group: vec3u, groups: vec3u, rows: u32) -> Block {
  let blocks = (rows + BLOCK_ROWS - 1u) / BLOCK_ROWS;
  let index = group.x + group.y * groups.x;
  let rest = index / blocks;
  let entry = rest / params.heads;
  return Block((index % blocks) * BLOCK_ROWS, rest % params.heads, entry % params.batch, entry / params.batch,
    index < blocks * params.heads * params.batch * params.splits);
}

// The columns [x, y) that a workgroup walks over, of those from `begin` to `end`; whole blocks.
fn partOf(begin: u32, end: u32, split: u32) -> vec2u {
  let blocks = (end - begin + BLOCK_COLUMNS - 1u) / BLOCK_COLUMNS;
  let each = ((blocks + params.splits - 1u) / params.splits) * BLOCK_COLUMNS;
  return vec2u(begin + split * each, min(begin + (split + 1u) * each, end));
}

// A causal query sees the keys up to its own index, and so a key is seen by the queries from its own index on.
fn visibleKeys(query: u32) -> u32 { return select(params.keys, min(query + 1u, params.keys), params.causal != 0u); }
fn seenFrom(key: u32) -> u32 { return select(0u, key, params.causal != 0u); }

// Its head of each tensor.
struct Sources { queries: Source, keys: Source, values: Source, dOuts: Source }
fn sourcesOf(block: Block) -> Sources {
  let head = block.head * params.headVec4;
  let query = block.batch * params.queries;
  let key = block.batch * params.keys;
  return Sources(
    Source(params.offsetQ + query * params.rowStrideQ + head, params.rowStrideQ, params.queries),
    Source(params.offsetK + key * params.rowStrideK + head, params.rowStrideK, params.keys),
    Source(params.offsetV + key * params.rowStrideV + head, params.rowStrideV, params.keys),
    Source(query * params.rowStrideO + head, params.rowStrideO, params.queries));
}
