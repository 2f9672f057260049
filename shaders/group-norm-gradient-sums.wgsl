// What a group norm's gradient needs by group: with h = (x - mean) * r and d = gamma * dz, dz the cotangent before SiLU (dy itself
// without it), the means of d and of d * h. Either straight from dy and x, or (PARTIALS) from the channel sums of
// group-norm-gradient-partials; "positions" then counts chunks. One row of lanes per batch entry and group.
// Bindings: dy and x, or sums and sumsH: [batch, positions, channels] as Packs; gamma, beta (with SILU, without PARTIALS): [channels];
// statistics: mean and r, [batch, groups]; moments: (mean, r, mean of d, mean of d * h), [batch, groups].
// Defines: PARTIALS; SILU; ACTIVATIONS, the text of lib/activations.wgsl; SUBGROUPS, LANES and WORKGROUP of lib/row.wgsl, whose text is
// ROW; PACKS and WALK, the texts of lib/pack.wgsl and lib/group-walk.wgsl; VEC4, whether the channels of a group are a multiple of 4.
${ROW}
${WALK}
${ACTIVATIONS}
${PACKS}

// rows: batch * groups; columns: Packs per position; perGroup: Packs per group and position; total: positions of x
struct Params { rows: u32, groups: u32, positions: u32, columns: u32, perGroup: u32, total: u32 }

#if ${PARTIALS}
@group(0) @binding(0) var<storage, read> sums: array<Pack>;
@group(0) @binding(1) var<storage, read> sumsH: array<Pack>;
#else
@group(0) @binding(0) var<storage, read> dy: array<${dy as Pack}>;
@group(0) @binding(1) var<storage, read> x: array<${x as Pack}>;
#if ${SILU}
@group(0) @binding(2) var<storage, read> beta: array<Pack>;
#endif
#endif
@group(0) @binding(3) var<storage, read> gamma: array<Pack>;
@group(0) @binding(4) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec4f>;

fn reduce(row: u32, lane: u32, live: bool) {
  let base = startOf(row);
  let step = spotOf(LANES);
  let firstChannel = (row % params.groups) * params.perGroup;
  let mean = statistics[row].x;
  let r = statistics[row].y;
  var sumD = Pack();
  var sumDH = Pack();
  for (var spot = spotOf(lane); spot.position < params.positions; spot = after(spot, step)) {
    let at = base + spot.position * params.columns + spot.channel;
    let scale = gamma[firstChannel + spot.channel];
#if ${PARTIALS}
    sumD += scale * sums[at];
    sumDH += scale * sumsH[at];
#else
    let h = (Pack(x[at]) - mean) * r;
    var d = scale * Pack(dy[at]);
#if ${SILU}
    d *= packOf(siluDerivative4(vec4f(h * scale + beta[firstChannel + spot.channel])));
#endif
    sumD += d;
    sumDH += d * h;
#endif
  }
  let n = f32(params.total) * f32(params.perGroup * PACK);
  let meanD = rowSum(packSum(sumD), lane) / n;
  let meanDH = rowSum(packSum(sumDH), lane) / n;
  if (live && lane == 0u) { moments[row] = vec4f(mean, r, meanD, meanDH); }
}
