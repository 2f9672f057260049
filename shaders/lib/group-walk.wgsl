// How the lanes of lib/row.wgsl walk through the Packs of a group, a row of [batch, groups]: lane by lane, position by position, without a
// division per step. Of struct Params it reads groups, positions, columns (Packs per position) and perGroup (Packs per group and position).

// Index of the group's first Pack.
fn startOf(row: u32) -> u32 {
  return (row / params.groups) * params.positions * params.columns + (row % params.groups) * params.perGroup;
}

// Where a Pack stands in its group.
struct Spot { channel: u32, position: u32 }
fn spotOf(i: u32) -> Spot { return Spot(i % params.perGroup, i / params.perGroup); }
fn after(at: Spot, step: Spot) -> Spot {
  var next = Spot(at.channel + step.channel, at.position + step.position);
  if (next.channel >= params.perGroup) {
    next.channel -= params.perGroup;
    next.position++;
  }
  return next;
}
