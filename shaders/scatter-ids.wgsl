// y = ids with y[positions[j]] = chosen[j % chosenCount]; of equal positions the last wins, positions at or above `count` are ignored.
// ids, y: [count] u32; chosen: [chosenCount], positions: [positionCount] u32. Defines: none.
${POINTWISE}

struct Params { count: u32, positionCount: u32, chosenCount: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

fn element(index: u32) {
  var id = ids[index];
  for (var j = 0u; j < params.positionCount; j++) {
    if (positions[j] == index) { id = chosen[j % params.chosenCount]; }
  }
  y[index] = id;
}
