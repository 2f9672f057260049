// workgroupSum(value, lane): the sum of both components over a workgroup of 256, the same in every invocation, in a fixed order.
// workgroupMaximum(value, lane): the largest. Both must be called in uniform control flow.
var<workgroup> partials: array<vec2f, 256>;
var<workgroup> total: vec2f;

fn workgroupSum(value: vec2f, lane: u32) -> vec2f {
  partials[lane] = value;
  workgroupBarrier();
  var sum = vec2f();
  if (lane < 16u) {
    for (var i = 0u; i < 16u; i++) { sum += partials[lane * 16u + i]; }
  }
  workgroupBarrier();
  if (lane < 16u) { partials[lane] = sum; }
  workgroupBarrier();
  if (lane == 0u) {
    sum = vec2f();
    for (var i = 0u; i < 16u; i++) { sum += partials[i]; }
    total = sum;
  }
  return workgroupUniformLoad(&total);
}

fn workgroupMaximum(value: vec2f, lane: u32) -> vec2f {
  partials[lane] = value;
  workgroupBarrier();
  var best = value;
  if (lane < 16u) {
    for (var i = 0u; i < 16u; i++) { best = max(best, partials[lane * 16u + i]); }
  }
  workgroupBarrier();
  if (lane < 16u) { partials[lane] = best; }
  workgroupBarrier();
  if (lane == 0u) {
    for (var i = 0u; i < 16u; i++) { best = max(best, partials[i]); }
    total = best;
  }
  return workgroupUniformLoad(&total);
}
