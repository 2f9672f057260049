// Input gradient of group norm (with SiLU if it was fused) in one dispatch, a workgroup for a span of channels: with h = (x - mean) * r and
// d = gamma * dz, dz the cotangent before SiLU, dx = r * (d - mean(d) - h * mean(d * h)) + residual, the means by group.
// Bindings: dy, x, residual, dx: [batch, positions, channels] as vec4s; gamma, beta (with SILU): [channels]; statistics: mean and r,
// [batch, groups].
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; SPAN, of lib/span.wgsl; WORKGROUP.
${SPAN}
${ACTIVATIONS}

struct Params { spans: u32, spansPerImage: u32, positions: u32, columns: u32, width: u32, rows: u32, each: u32, extra: u32,
  groupsPerSpan: u32, perGroup: u32, hasResidual: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as vec4f}>;
@group(0) @binding(1) var<storage, read> x: array<${x as vec4f}>;
@group(0) @binding(2) var<storage, read> gamma: array<vec4f>;
#if ${SILU}
@group(0) @binding(3) var<storage, read> beta: array<vec4f>;
#endif
@group(0) @binding(4) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(5) var<storage, read> residual: array<${residual as vec4f}>;
@group(0) @binding(6) var<storage, read_write> dx: array<${dx as vec4f}>;

fn takeSpan(span: u32, local: u32, column: u32, xColumn: u32, first: u32, count: u32) {
  let step = params.rows * params.columns;
  if (local < params.groupsPerSpan) { spanGroups[local] = statistics[span * params.groupsPerSpan + local]; }
  workgroupBarrier();
  let norm = groupsOf(column);
  let mean = norm.first;
  let r = norm.second;
  let scale = gamma[xColumn];
#if ${SILU}
  let shift = beta[xColumn];
#endif
  var sum = vec4f();
  var sumH = vec4f();
  var at = first;
  for (var i = 0u; i < count; i++) {
    let h = (vec4f(x[at]) - mean) * r;
    var d = scale * vec4f(dy[at]);
#if ${SILU}
    d *= siluDerivative4(h * scale + shift);
#endif
    sum += d;
    sumH += d * h;
    at += step;
  }
  spanFirst[local] = sum;
  spanSecond[local] = sumH;
  workgroupBarrier();

  if (local < params.width) {
    for (var other = local + params.width; other < params.rows * params.width; other += params.width) {
      sum += spanFirst[other];
      sumH += spanSecond[other];
    }
    spanFirst[local] = sum;
    spanSecond[local] = sumH;
  }
  workgroupBarrier();
  if (local < params.groupsPerSpan) {
    var total = vec2f();
    let begin = local * params.perGroup;
    let lastColumn = (begin + params.perGroup - 1u) >> 2u;
    for (var c = begin >> 2u; c <= lastColumn; c++) {
      let mine = inGroup(c, begin);
      total += vec2f(dot(spanFirst[c], mine), dot(spanSecond[c], mine));
    }
    spanGroups[local] = total / (f32(params.positions) * f32(params.perGroup));
  }
  workgroupBarrier();

  let moments = groupsOf(column);
  at = first;
  for (var i = 0u; i < count; i++) {
    let h = (vec4f(x[at]) - mean) * r;
    var d = scale * vec4f(dy[at]);
#if ${SILU}
    d *= siluDerivative4(h * scale + shift);
#endif
    var result = r * (d - moments.first - h * moments.second);
    if (params.hasResidual != 0u) { result += vec4f(residual[at]); }
    dx[at] = ${dx as vec4f}(result);
    at += step;
  }
}
