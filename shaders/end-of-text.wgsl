// Of each row of ids [rows, length]: where the text ends, and the row with other padding.
// Bindings: ids: u32; y: u32 [rows, length], `pad` after the first id `end`, elsewhere as ids;
// position: u32 [rows], row * length + the place of the largest id below `limit`, the first of equal ones (0 where there is none).
// Defines: none. One thread a row: a prompt has 77 ids.
${POINTWISE}

struct Params { count: u32, length: u32, end: u32, pad: u32, limit: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read_write> position: array<u32>;

fn element(row: u32) {
  let start = row * params.length;
  var ended = false;
  var place = 0u;
  var largest = 0u;
  for (var i = 0u; i < params.length; i++) {
    let id = ids[start + i];
    if (id > largest && id < params.limit) {
      largest = id;
      place = i;
    }
    y[start + i] = select(id, params.pad, ended);
    ended = ended || id == params.end;
  }
  position[row] = start + place;
}
