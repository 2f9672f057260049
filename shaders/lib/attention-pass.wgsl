// What every pass of attention takes and gives. q, o, dO, dQ [batch, queries, heads, head] and k, v, dK, dV [batch, keys, heads, head] as
// vec4s, each by its own row stride and, but for o and dO, offset (in vec4s), so that q, k and v may be slices of one tensor, and their
// gradients of another. logSumExp [batch, heads, queries] = ln(sum(exp(scale q k^T))); delta, of its shape: attention-gradient-delta.wgsl.
// With `splits` above one the outputs are [splits, ...], each of one part of the walk, for attention-merge.
// Defines: FORWARD, or QUERY: which pass, of the gradient of keys and values neither. JOINT: dK and dV lie in one tensor, bound as dK.
// VEC4: outputs are written in vec4s, else in numbers. BLOCKS: the form computes by blocks, which load vec4s by `load`. SIGNED: its queries
// take the scale's sign. GAIN: Params has a `gain`.
struct Params {
  batch: u32,
  heads: u32,
  queries: u32,
  keys: u32,
  headVec4: u32,
  rowStrideQ: u32,
  offsetQ: u32,
  rowStrideK: u32,
  offsetK: u32,
  rowStrideV: u32,
  offsetV: u32,
  rowStrideO: u32,
  causal: u32,
  scale: f32,
#if ${FORWARD}
#elif ${QUERY}
  rowStrideDQ: u32,
  offsetDQ: u32,
#else
  rowStrideDK: u32,
  offsetDK: u32,
  rowStrideDV: u32,
  offsetDV: u32,
#endif
#if ${GAIN}
  gain: f32,
#endif
#if ${BLOCKS}
  splits: u32,
#endif
}

#if ${VEC4}
alias Piece = vec4f;
#else
alias Piece = f32;
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<${q as vec4f}>;
@group(0) @binding(2) var<storage, read> k: array<${k as vec4f}>;
@group(0) @binding(3) var<storage, read> v: array<${v as vec4f}>;
// put0 and put1 write a piece of the first output and of the second.
#if ${FORWARD}
@group(0) @binding(4) var<storage, read_write> o: array<${o as Piece}>;
@group(0) @binding(5) var<storage, read_write> logSumExp: array<f32>;
fn put0(at: u32, x: Piece) { o[at] = ${o as Piece}(x); }
#else
@group(0) @binding(4) var<storage, read> dO: array<${dO as vec4f}>;
@group(0) @binding(5) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
#if ${QUERY}
@group(0) @binding(7) var<storage, read_write> dQ: array<${dQ as Piece}>;
fn put0(at: u32, x: Piece) { dQ[at] = ${dQ as Piece}(x); }
#else
@group(0) @binding(7) var<storage, read_write> dK: array<${dK as Piece}>;
fn put0(at: u32, x: Piece) { dK[at] = ${dK as Piece}(x); }
#if ${JOINT}
fn put1(at: u32, x: Piece) { put0(at, x); }
#else
@group(0) @binding(8) var<storage, read_write> dV: array<${dV as Piece}>;
fn put1(at: u32, x: Piece) { dV[at] = ${dV as Piece}(x); }
#endif
#endif
#endif

#if ${BLOCKS}
const OF_QUERIES = 0u;
const OF_KEYS = 1u;
const OF_VALUES = 2u;
const OF_D_OUTS = 3u;
fn load(tensor: u32, at: u32) -> vec4f {
  switch (tensor) {
#if ${SIGNED}
    case OF_QUERIES: { return sign(params.scale) * vec4f(q[at]); } // so that the largest score has the largest weight
#else
    case OF_QUERIES: { return vec4f(q[at]); }
#endif
    case OF_KEYS: { return vec4f(k[at]); }
#if ${FORWARD}
#else
    case OF_D_OUTS: { return vec4f(dO[at]); }
#endif
    default: { return vec4f(v[at]); }
  }
}
#endif
