// The statistics of the channels of a Pack, which are those of their groups: [0] the means, [1] the r, and with MOMENTS [2] the means of d
// and [3] those of d * h; each a Pack. Reads `statistics` [batch, groups].
// Defines: VEC4, whether channels is a multiple of 4; MOMENTS.
#if ${MOMENTS}
alias OfGroup = vec4f;
alias OfPack = mat4x4f;
alias OfFour = mat4x4f;
#else
alias OfGroup = vec2f;
alias OfPack = mat2x4f;
alias OfFour = mat4x2f;
#endif
#if ${VEC4}
fn statisticsOf(batch: u32, column: u32) -> OfPack {
  let group = batch * params.groups + (4u * column + vec4u(0u, 1u, 2u, 3u)) / params.perGroup;
  return transpose(OfFour(statistics[group.x], statistics[group.y], statistics[group.z], statistics[group.w]));
}
#else
fn statisticsOf(batch: u32, column: u32) -> OfGroup {
  return statistics[batch * params.groups + column / params.perGroup];
}
#endif
