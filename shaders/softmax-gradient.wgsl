// Gradient of softmax from its result: dx = y * (dy - sum(dy * y)) over each row of [rows, width].
// Bindings: dy, y, dx: Packs.
// Defines: ROW and PACKS, the texts of lib/row.wgsl, with its defines, and lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
${ROW}
${PACKS}

// width: Packs in a row
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> dy: array<Pack>;
@group(0) @binding(1) var<storage, read> y: array<Pack>;
@group(0) @binding(2) var<storage, read_write> dx: array<Pack>;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = row * params.width;
  var sum = Pack();
  for (var i = lane; i < params.width; i += LANES) {
    sum += dy[base + i] * y[base + i];
  }
  let dot = rowSum(packSum(sum), lane);
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      dx[base + i] = y[base + i] * (dy[base + i] - dot);
    }
  }
}
