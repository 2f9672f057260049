// How many neighbouring channels a thread takes at once: a vec4f where every row is a whole number of them, else one f32.
// Defines: VEC4.
#if ${VEC4}
alias Pack = vec4f;
const PACK = 4u;
fn packSum(v: Pack) -> f32 { return (v.x + v.y) + (v.z + v.w); }
fn packMax(v: Pack) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn packOf(v: vec4f) -> Pack { return v; }
#else
alias Pack = f32;
const PACK = 1u;
fn packSum(v: Pack) -> f32 { return v; }
fn packMax(v: Pack) -> f32 { return v; }
fn packOf(v: vec4f) -> Pack { return v.x; }
#endif
