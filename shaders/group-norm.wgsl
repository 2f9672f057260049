// y = (x - mean) * r * gamma + beta, then SiLU if wanted, mean and r by group of channels. One thread per Pack of channels and chunk of
// positions, so that a channel's numbers are fetched once for several positions.
// Bindings: x, y: [batch, positions, channels] as Packs; gamma, beta: [channels]; statistics: mean and r = 1 / deviation, [batch, groups].
// Defines: SILU; ACTIVATIONS, the text of lib/activations.wgsl; PACKS, the text of lib/pack.wgsl; VEC4, whether channels is a multiple of
// 4; STATISTICS, the text of lib/group-statistics.wgsl.
${ACTIVATIONS}
${PACKS}

// count: threads; columns: Packs per position; perChunk: positions a thread takes, the last may take fewer; perGroup: channels in a group
struct Params { count: u32, positions: u32, columns: u32, chunks: u32, perChunk: u32, groups: u32, perGroup: u32 }

@group(0) @binding(0) var<storage, read> x: array<${x as Pack}>;
@group(0) @binding(1) var<storage, read> gamma: array<Pack>;
@group(0) @binding(2) var<storage, read> beta: array<Pack>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> y: array<${y as Pack}>;
@group(0) @binding(5) var<uniform> params: Params;

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
  let scale = r * gamma[column];
  let shift = beta[column];
  var at = (batch * params.positions + first) * params.columns + column;
  for (var p = first; p < end; p++) {
    let z = (Pack(x[at]) - mean) * scale + shift;
#if ${SILU}
    y[at] = ${y as Pack}(packOf(silu4(vec4f(z))));
#else
    y[at] = ${y as Pack}(z);
#endif
    at += params.columns;
  }
}
