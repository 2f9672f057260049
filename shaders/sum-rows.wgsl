// Sums over the rows of [batch, rows, width], a chunk of rows at a time: y = [batch, chunks, width]. One thread per Pack of y.
// Run a second time on its own result (chunks as rows) it gives the whole sum.
// Bindings: x, y.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether width is a multiple of 4.

${PACKS}

// count: Packs in y; width: Packs in a row; rowsPerChunk: the last chunk may have fewer
struct Params { count: u32, rows: u32, width: u32, chunks: u32, rowsPerChunk: u32 }

@group(0) @binding(0) var<storage, read> x: array<Pack>;
@group(0) @binding(1) var<storage, read_write> y: array<Pack>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 256u + local;
  if (i >= params.count) { return; }
  let column = i % params.width;
  let chunk = (i / params.width) % params.chunks;
  let batch = i / (params.width * params.chunks);
  let first = chunk * params.rowsPerChunk;
  let end = min(first + params.rowsPerChunk, params.rows);
  var sum = Pack();
  var at = (batch * params.rows + first) * params.width + column;
  for (var row = first; row < end; row++) {
    sum += x[at];
    at += params.width;
  }
  y[i] = sum;
}
