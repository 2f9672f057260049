// A row of [params.rows, ..] that several lanes work on together: the includer does it in `fn reduce(row: u32, lane: u32, live: bool)`,
// with rowSum and rowMax, of which every lane gets the result. It has struct Params, whose uniform is bound here. With SUBGROUPS a row
// belongs to one subgroup and a workgroup holds several rows; without, the whole workgroup works on one row. All lanes must call rowSum and
// rowMax together: those whose row does not exist work on a copy of the last one, are not `live` and write nothing. This text comes before
// all others. Defines: SUBGROUPS, LANES (per row), WORKGROUP (invocations).
#if ${SUBGROUPS}
enable subgroups;
#endif
@group(0) @binding(15) var<uniform> params: Params;
const LANES = ${LANES}u;

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) workgroups: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (workgroup.x + workgroup.y * workgroups.x) * (${WORKGROUP}u / LANES) + local / LANES;
  reduce(min(index, params.rows - 1u), local % LANES, index < params.rows);
}

#if ${SUBGROUPS}
fn rowSum(value: f32, lane: u32) -> f32 { return subgroupAdd(value); }
fn rowMax(value: f32, lane: u32) -> f32 { return subgroupMax(value); }
#else
var<workgroup> rowScratch: array<f32, LANES>;

fn rowSum(value: f32, lane: u32) -> f32 {
  rowScratch[lane] = value;
  workgroupBarrier();
  for (var span = LANES / 2u; span > 0u; span >>= 1u) {
    if (lane < span) { rowScratch[lane] += rowScratch[lane + span]; }
    workgroupBarrier();
  }
  let result = rowScratch[0];
  workgroupBarrier();
  return result;
}

fn rowMax(value: f32, lane: u32) -> f32 {
  rowScratch[lane] = value;
  workgroupBarrier();
  for (var span = LANES / 2u; span > 0u; span >>= 1u) {
    if (lane < span) { rowScratch[lane] = max(rowScratch[lane], rowScratch[lane + span]); }
    workgroupBarrier();
  }
  let result = rowScratch[0];
  workgroupBarrier();
  return result;
}
#endif
