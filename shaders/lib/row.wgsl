// Reductions over a row that several lanes work on together; every lane gets the result.
// With SUBGROUPS a row belongs to one subgroup and a workgroup holds several rows; without, the whole workgroup works on one row.
// All lanes must call these together: a lane whose row does not exist works on a copy of the last one and writes nothing.
// Defines: SUBGROUPS, LANES (per row), WORKGROUP (invocations).
const LANES = ${LANES}u;
const ROWS_PER_WORKGROUP = ${WORKGROUP}u / LANES;
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
