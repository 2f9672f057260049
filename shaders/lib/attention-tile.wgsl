// A tile of eight rows (keys or queries) that every lane sees, one vec4 of the head at a time.
// With SUBGROUPS each lane loads its own row of the tile and broadcasts it: lane & ROW_MASK is its row, ROW_MASK = 7. Subgroups of four
// lanes (SPLIT, ROW_MASK = 3) load rows 0..3 and 4..7 in turn. SECOND is the lane that holds row 4: 4, or 0 with SPLIT.
// Without SUBGROUPS the rows lie in workgroup memory, params.headVec4 vec4s each.
struct Eight { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f, r4: vec4f, r5: vec4f, r6: vec4f, r7: vec4f }
// One number per row of the tile.
struct EightScores { a: vec4f, b: vec4f }

#if ${SUBGROUPS}
fn eightRows(a: vec4f, b: vec4f) -> Eight {
  return Eight(
    subgroupBroadcast(a, 0u), subgroupBroadcast(a, 1u), subgroupBroadcast(a, 2u), subgroupBroadcast(a, 3u),
    subgroupBroadcast(b, ${SECOND}u), subgroupBroadcast(b, ${SECOND}u + 1u), subgroupBroadcast(b, ${SECOND}u + 2u), subgroupBroadcast(b, ${SECOND}u + 3u));
}
fn eightNumbers(a: f32, b: f32) -> EightScores {
  return EightScores(
    vec4f(subgroupBroadcast(a, 0u), subgroupBroadcast(a, 1u), subgroupBroadcast(a, 2u), subgroupBroadcast(a, 3u)),
    vec4f(subgroupBroadcast(b, ${SECOND}u), subgroupBroadcast(b, ${SECOND}u + 1u), subgroupBroadcast(b, ${SECOND}u + 2u), subgroupBroadcast(b, ${SECOND}u + 3u)));
}
#else
var<workgroup> tile: array<vec4f, ${HEAD_VEC4} * 16>; // two operands of eight rows
fn eightRows(start: u32) -> Eight {
  let n = params.headVec4;
  return Eight(tile[start], tile[start + n], tile[start + 2u * n], tile[start + 3u * n],
    tile[start + 4u * n], tile[start + 5u * n], tile[start + 6u * n], tile[start + 7u * n]);
}
#endif

fn noScores() -> EightScores {
  return EightScores(vec4f(), vec4f());
}

fn addDots(s: EightScores, x: vec4f, e: Eight) -> EightScores {
  return EightScores(
    s.a + vec4f(dot(x, e.r0), dot(x, e.r1), dot(x, e.r2), dot(x, e.r3)),
    s.b + vec4f(dot(x, e.r4), dot(x, e.r5), dot(x, e.r6), dot(x, e.r7)));
}

fn weightedSum(w: EightScores, e: Eight) -> vec4f {
  return w.a.x * e.r0 + w.a.y * e.r1 + w.a.z * e.r2 + w.a.w * e.r3
       + w.b.x * e.r4 + w.b.y * e.r5 + w.b.z * e.r6 + w.b.w * e.r7;
}
