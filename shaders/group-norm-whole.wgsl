// y = (x - mean) * r * gamma + beta, then SiLU if wanted, mean and r = 1 / sqrt(variance + epsilon) by group of channels, in one dispatch:
// a workgroup takes the statistics of a span of channels and applies them. Deviations are taken from each lane's first value on, which
// keeps the squares small where the mean is large, and are combined exactly (Chan et al.).
// Bindings: x, y: [batch, positions, channels] as vec4s; gamma, beta: [channels]; statistics: mean and r, [batch, groups].
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; SPAN, of lib/span.wgsl; WORKGROUP.
${SPAN}
${ACTIVATIONS}

struct Params { spans: u32, spansPerImage: u32, positions: u32, columns: u32, width: u32, rows: u32, each: u32, extra: u32,
  groupsPerSpan: u32, perGroup: u32, epsilon: f32 }

@group(0) @binding(0) var<storage, read> x: array<${x as vec4f}>;
@group(0) @binding(1) var<storage, read> gamma: array<vec4f>;
@group(0) @binding(2) var<storage, read> beta: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> y: array<${y as vec4f}>;
@group(0) @binding(4) var<storage, read_write> statistics: array<vec2f>;

fn takeSpan(span: u32, local: u32, column: u32, xColumn: u32, first: u32, count: u32) {
  let step = params.rows * params.columns;
  var sum = vec4f();
  var square = vec4f();
  var origin = vec4f();
  if (count > 0u) {
    origin = vec4f(x[first]);
    var at = first;
    for (var i = 1u; i < count; i++) {
      at += step;
      let d = vec4f(x[at]) - origin;
      sum += d;
      square += d * d;
    }
    let shift = sum / f32(count);
    spanFirst[local] = origin + shift;
    spanSecond[local] = max(square - sum * shift, vec4f());
  }
  workgroupBarrier();

  // By channel: mean, and sum of squared deviations.
  let n = f32(params.positions);
  if (local < params.width) {
    let taken = min(params.rows, params.positions);
    var total = vec4f();
    for (var r = 0u; r < taken; r++) { total += f32(rowCount(r)) * spanFirst[r * params.width + local]; }
    let mean = total / n;
    var rest = vec4f(); // what rounding left out of the mean
    var squares = vec4f();
    for (var r = 0u; r < taken; r++) {
      let d = spanFirst[r * params.width + local] - mean;
      let weight = f32(rowCount(r));
      rest += weight * d;
      squares += spanSecond[r * params.width + local] + weight * d * d;
    }
    spanFirst[local] = mean + rest / n;
    spanSecond[local] = squares;
  }
  workgroupBarrier();

  // By group.
  if (local < params.groupsPerSpan) {
    let begin = local * params.perGroup;
    let channels = f32(params.perGroup);
    var total = 0.0;
    let lastColumn = (begin + params.perGroup - 1u) >> 2u;
    for (var c = begin >> 2u; c <= lastColumn; c++) { total += dot(spanFirst[c], inGroup(c, begin)); }
    let mean = total / channels;
    var rest = 0.0;
    var squares = 0.0;
    for (var c = begin >> 2u; c <= lastColumn; c++) {
      let mine = inGroup(c, begin);
      let d = (spanFirst[c] - mean) * mine;
      rest += dot(d, mine);
      squares += dot(spanSecond[c], mine) + n * dot(d, d);
    }
    let correction = rest / channels;
    let variance = max(squares / (n * channels) - correction * correction, 0.0);
    let result = vec2f(mean + correction, 1.0 / sqrt(variance + params.epsilon));
    spanGroups[local] = result;
    statistics[span * params.groupsPerSpan + local] = result;
  }
  workgroupBarrier();

  if (count == 0u) { return; }
  let norm = groupsOf(column);
  let scale = norm.second * gamma[xColumn];
  let shift = beta[xColumn];
  var at = first;
  for (var i = 0u; i < count; i++) {
    let z = (vec4f(x[at]) - norm.first) * scale + shift;
#if ${SILU}
    y[at] = ${y as vec4f}(silu4(z));
#else
    y[at] = ${y as vec4f}(z);
#endif
    at += step;
  }
}
