// First of two steps of a large group norm's statistics: mean and sum of squared deviations of every channel over chunks of positions,
// taken from the chunk's first value on, which keeps the squares small where the mean is large. One thread per Pack of channels and chunk.
// Bindings: x: [batch, positions, channels] as Packs; means, squares: [batch, chunks, channels] as Packs.
// Defines: PACKS, the text of lib/pack.wgsl; VEC4, whether channels is a multiple of 4.
${PACKS}

// count: threads; columns: Packs per position; perChunk: positions in a chunk, the last may have fewer
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32 }

@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read_write> means: array<Pack>;
@group(0) @binding(2) var<storage, read_write> squares: array<Pack>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 64u + local;
  if (i >= params.count) { return; }
  let column = i % params.columns;
  let chunk = (i / params.columns) % params.chunks;
  let batch = i / (params.columns * params.chunks);
  let first = chunk * params.perChunk;
  let end = min(first + params.perChunk, params.positions);
  var at = (batch * params.positions + first) * params.columns + column;
  let origin = Pack(x[at]);
  var sum = Pack();
  var square = Pack();
  for (var p = first + 1u; p < end; p++) {
    at += params.columns;
    let d = Pack(x[at]) - origin;
    sum += d;
    square += d * d;
  }
  let shift = sum / f32(end - first);
  means[i] = origin + shift;
  squares[i] = max(square - sum * shift, Pack());
}
