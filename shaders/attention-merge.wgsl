// The whole of what attention's tiled shaders computed in parts: y = sum over parts of x; or, with WEIGHTED, the outputs of parts of the
// keys weighted by their share of the softmax: y = sum(x exp(l)) / sum(exp(l)), logSumExp = ln(sum(exp(l))) (FlashAttention-2, arXiv
// 2307.08691, section 3.1).
// Layout: x [splits, batch, rows, heads, head] as vec4s, y the same without splits, by its row stride and offset (in vec4s).
// WEIGHTED: l [splits, batch, heads, rows], logSumExp [batch, heads, rows]. One invocation per vec4 of y.
${POINTWISE}

struct Params {
  count: u32, // vec4s of y
  rows: u32,
  heads: u32,
  headVec4: u32,
  splits: u32,
  rowStride: u32,
  offset: u32,
}

@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<${y as vec4f}>;
#if ${WEIGHTED}
@group(0) @binding(3) var<storage, read> l: array<f32>;
@group(0) @binding(4) var<storage, read_write> logSumExp: array<f32>;
#endif

fn element(index: u32) {
  let row = index / (params.heads * params.headVec4); // of all batch entries
  let column = index % (params.heads * params.headVec4);
  var sum = vec4f();
#if ${WEIGHTED}
  let head = column / params.headVec4;
  let number = ((row / params.rows) * params.heads + head) * params.rows + row % params.rows;
  let numbers = (params.count / params.headVec4);
  var high = l[number];
  for (var s = 1u; s < params.splits; s++) { high = max(high, l[number + s * numbers]); }
  var total = 0.0;
  for (var s = 0u; s < params.splits; s++) {
    let weight = exp(l[number + s * numbers] - high);
    total += weight;
    sum += weight * x[index + s * params.count];
  }
  sum /= total;
  if (column % params.headVec4 == 0u) { logSumExp[number] = high + log(total); }
#else
  for (var s = 0u; s < params.splits; s++) { sum += x[index + s * params.count]; }
#endif
  y[params.offset + row * params.rowStride + column] = ${y as vec4f}(sum);
}
