// First of two steps of a large group norm's gradient: with h = (x - mean) * r and dz the cotangent before SiLU (dy itself without it),
// the sums of dz and of dz * h of every channel over chunks of positions. One thread per Pack of channels and chunk.
// (Summed over batch and chunks these are the gradients of beta and gamma.)
// Bindings: dy, x: [batch, positions, channels] as Packs; gamma, beta (with SILU): [channels]; statistics: mean and r, [batch, groups];
// sums, sumsH: [batch, chunks, channels] as Packs.
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; PACKS, the text of lib/pack.wgsl; VEC4, whether channels is a multiple of
// 4; STATISTICS, the text of lib/group-statistics.wgsl.
${ACTIVATIONS}
${PACKS}

// count: threads; columns: Packs per position; perChunk: positions a thread takes, the last may take fewer; perGroup: channels in a group
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32, groups: u32, perGroup: u32 }

@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read> x: array<${x as Pack}>;
#if ${SILU}
@group(0) @binding(2) var<storage, read> gamma: array<Pack>;
@group(0) @binding(3) var<storage, read> beta: array<Pack>;
#endif
@group(0) @binding(4) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> sums: array<Pack>;
@group(0) @binding(6) var<storage, read_write> sumsH: array<Pack>;
@group(0) @binding(7) var<uniform> params: Params;

${STATISTICS}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = (workgroup.x + workgroup.y * workgroups.x) * 64u + local;
  if (i >= params.count) { return; }
  let column = i % params.columns;
  let chunk = (i / params.columns) % params.chunks;
  let batch = i / (params.columns * params.chunks);
  let first = chunk * params.perChunk;
  let end = min(first + params.perChunk, params.positions);
  let norm = statisticsOf(batch, column);
  let mean = norm[0];
  let r = norm[1];
#if ${SILU}
  let scale = gamma[column];
  let shift = beta[column];
#endif
  var sum = Pack();
  var sumH = Pack();
  var at = (batch * params.positions + first) * params.columns + column;
  for (var p = first; p < end; p++) {
    let h = (Pack(x[at]) - mean) * r;
    var d = Pack(dy[at]);
#if ${SILU}
    d *= packOf(siluDerivative4(vec4f(h * scale + shift)));
#endif
    sum += d;
    sumH += d * h;
    at += params.columns;
  }
  sums[i] = sum;
  sumsH[i] = sumH;
}
