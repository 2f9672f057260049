// y = exp(x - max) / sum(exp(x - max)) over each row of [rows, width]. Maximum and sum are found in one reading (online softmax).
// Bindings: x, y: Packs.
// Defines: ROW and PACKS, the texts of lib/row.wgsl, with its defines, and lib/pack.wgsl; VEC4, whether width is a
// multiple of 4.
${ROW}
${PACKS}

// width: Packs in a row
struct Params { rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;

const LOWEST = -3.4028234e38;
// exp of this is 0 in float32; it keeps differences with LOWEST from becoming infinite.
const NOTHING = -120.0;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = row * params.width;
  var top = LOWEST;
  var sum = 0.0;
  for (var i = lane; i < params.width; i += LANES) {
    let v = x[base + i];
    let next = max(top, packMax(v));
    sum = sum * exp(max(top - next, NOTHING)) + packSum(exp(max(v - next, Pack(NOTHING))));
    top = next;
  }
  let rowTop = rowMax(top, lane);
  let total = rowSum(sum * exp(max(top - rowTop, NOTHING)), lane);
  if (live) {
    for (var i = lane; i < params.width; i += LANES) {
      y[base + i] = exp(max(x[base + i] - rowTop, Pack(NOTHING))) / total;
    }
  }
}
