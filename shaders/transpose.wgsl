// y[batch, columns, rows] = x[batch, rows, columns] transposed. With VEC4 (rows and columns are multiples of four) an invocation
// turns one 4x4 block, loading and storing whole vec4s; otherwise it moves one element, neighbours in y by neighbours.
// Defines: VEC4. Params count in blocks of four with VEC4, in elements otherwise.
${POINTWISE}

struct Params {
  count: u32, // blocks (or elements) in all
  rows: u32,
  columns: u32,
}

#if ${VEC4}
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#endif

fn element(index: u32) {
  let row = index % params.rows;
  let column = (index / params.rows) % params.columns;
  let batch = index / (params.rows * params.columns);
#if ${VEC4}
  let source = (batch * params.rows + row) * 4u * params.columns + column;
  let block = transpose(mat4x4f(x[source], x[source + params.columns], x[source + 2u * params.columns], x[source + 3u * params.columns]));
  let destination = (batch * params.columns + column) * 4u * params.rows + row;
  y[destination] = block[0];
  y[destination + params.rows] = block[1];
  y[destination + 2u * params.rows] = block[2];
  y[destination + 3u * params.rows] = block[3];
#else
  y[index] = x[(batch * params.rows + row) * params.columns + column];
#endif
}
