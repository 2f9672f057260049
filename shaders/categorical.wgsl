// Draws one index per row by inverse CDF: the first i with u * total < w[0] + ... + w[i]. Negative weights count as 0;
// an index of weight 0 is never drawn; a row that sums to 0 gives the index of its (first) largest element.
// weights: [rows, columns], uniforms: [rows] in [0, 1), y: [rows] u32. One workgroup per row. Defines: none.
// The order of every sum is fixed (blocks of 16, chunks, groups of 16 chunks), so the draw is a function of the inputs
// alone, and no sum has more than a few dozen terms, so that rounding stays near 1e-6 of the total for any vocabulary.
struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read> uniforms: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

const BLOCK = 16u;
var<workgroup> chunkSums: array<f32, 256>;
var<workgroup> groupSums: array<f32, 16>;

fn blockSum(begin: u32, end: u32) -> f32 {
  var sum = 0.0;
  for (var i = begin; i < min(begin + BLOCK, end); i++) { sum += max(weights[i], 0.0); }
  return sum;
}

fn argmax(begin: u32, end: u32) -> u32 {
  var best = begin;
  for (var i = begin + 1u; i < end; i++) {
    if (weights[i] > weights[best]) { best = i; }
  }
  return best;
}

// Walks down: group, chunk, block, element. At each level the last part of positive sum is taken when rounding leaves the target beyond
// all.
fn draw(begin: u32, end: u32, length: u32, fraction: f32) -> u32 {
  var total = 0.0;
  for (var g = 0u; g < 16u; g++) { total += groupSums[g]; }
  if (!(total > 0.0)) { return argmax(begin, end) - begin; }
  var goal = fraction * total;

  var chosen = 0u;
  var below = 0.0;
  var running = 0.0;
  for (var g = 0u; g < 16u; g++) {
    if (groupSums[g] > 0.0) {
      chosen = g;
      below = running;
      running += groupSums[g];
      if (goal < running) { break; }
    }
  }
  goal -= below;

  let firstChunk = chosen * 16u;
  below = 0.0;
  running = 0.0;
  for (var c = firstChunk; c < firstChunk + 16u; c++) {
    if (chunkSums[c] > 0.0) {
      chosen = c;
      below = running;
      running += chunkSums[c];
      if (goal < running) { break; }
    }
  }
  goal -= below;

  let chunkBegin = begin + chosen * length;
  let chunkEnd = min(chunkBegin + length, end);
  below = 0.0;
  running = 0.0;
  for (var b = chunkBegin; b < chunkEnd; b += BLOCK) {
    let sum = blockSum(b, chunkEnd);
    if (sum > 0.0) {
      chosen = b;
      below = running;
      running += sum;
      if (goal < running) { break; }
    }
  }
  goal -= below;

  let blockBegin = chosen;
  running = 0.0;
  for (var i = blockBegin; i < min(blockBegin + BLOCK, chunkEnd); i++) {
    if (weights[i] > 0.0) {
      chosen = i;
      running += weights[i];
      if (goal < running) { break; }
    }
  }
  return chosen - begin;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let begin = row * params.columns;
  let end = begin + params.columns;
  let length = (params.columns + 255u) / 256u;
  let chunkEnd = min(begin + (lane + 1u) * length, end);
  var sum = 0.0;
  for (var b = begin + lane * length; b < chunkEnd; b += BLOCK) { sum += blockSum(b, chunkEnd); }
  chunkSums[lane] = sum;
  workgroupBarrier();
  if (lane < 16u) {
    var groupSum = 0.0;
    for (var c = lane * 16u; c < lane * 16u + 16u; c++) { groupSum += chunkSums[c]; }
    groupSums[lane] = groupSum;
  }
  workgroupBarrier();
  if (lane == 0u) { y[row] = draw(begin, end, length, uniforms[row]); }
}
