// A workgroup that takes a span of channels of one batch entry: the fewest whole groups that are whole vec4s, `width` columns (vec4s) wide.
// Lanes are laid over the columns and over `rows` positions at a time; a lane keeps its column. Lanes left over take nothing.
// The includer takes one in `fn takeSpan(span, local, column, xColumn, first, count)`: a lane's column of the span and of x, its first vec4
// of x, and how many it takes, rows * columns apart. It has struct Params, whose uniform is bound here: spans (of all batch entries),
// spansPerImage, positions, columns (vec4s per position), width, rows, each and extra (the lanes of a row take `each` positions, of the
// first `extra` rows one more), groupsPerSpan, perGroup (channels). Numbers that would take a division come from the host: on a CPU's lanes
// one costs as much as a load. Defines: WORKGROUP.
@group(0) @binding(15) var<uniform> params: Params;
var<workgroup> spanFirst: array<vec4f, ${WORKGROUP}>;
var<workgroup> spanSecond: array<vec4f, ${WORKGROUP}>;
var<workgroup> spanGroups: array<vec2f, 4>; // a span holds up to four groups

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let span = workgroup.x + workgroup.y * workgroups.x;
  if (span >= params.spans) { return; }
  let batch = span / params.spansPerImage;
  let row = local / params.width;
  let column = local - row * params.width;
  let xColumn = (span - batch * params.spansPerImage) * params.width + column;
  takeSpan(span, local, column, xColumn, (batch * params.positions + row) * params.columns + xColumn, rowCount(row));
}

// Positions that a lane of `row` takes.
fn rowCount(row: u32) -> u32 { return select(params.each + select(0u, 1u, row < params.extra), 0u, row >= params.rows); }

// 1 for each of a column's four channels that belong to the group whose channels begin at `begin`, else 0. Whole columns at a time are a
// fourth of the steps that channels would be; on SwiftShader, where few lanes do this part, it is most of a small picture's time.
fn inGroup(column: u32, begin: u32) -> vec4f {
  let channel = 4u * column + vec4u(0u, 1u, 2u, 3u);
  return select(vec4f(), vec4f(1.0), (channel >= vec4u(begin)) & (channel < vec4u(begin + params.perGroup)));
}

// A pair of numbers kept by group, for the four channels of a column.
struct ByChannel { first: vec4f, second: vec4f }
fn groupsOf(column: u32) -> ByChannel {
  let group = (4u * column + vec4u(0u, 1u, 2u, 3u)) / params.perGroup;
  let a = spanGroups[group.x];
  let b = spanGroups[group.y];
  let c = spanGroups[group.z];
  let d = spanGroups[group.w];
  return ByChannel(vec4f(a.x, b.x, c.x, d.x), vec4f(a.y, b.y, c.y, d.y));
}
