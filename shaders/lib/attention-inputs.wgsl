// What every pass of attention reads. Defines: GRADIENT, a pass of the gradient; BLOCKS: it loads vec4s of them by `load`.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<${q as vec4f}>;
@group(0) @binding(2) var<storage, read> k: array<${k as vec4f}>;
@group(0) @binding(3) var<storage, read> v: array<${v as vec4f}>;
#if ${GRADIENT}
@group(0) @binding(4) var<storage, read> dO: array<${dO as vec4f}>;
@group(0) @binding(5) var<storage, read> logSumExp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
#endif
#if ${BLOCKS}

const OF_QUERIES = 0u;
const OF_KEYS = 1u;
const OF_VALUES = 2u;
const OF_D_OUTS = 3u;
fn load(tensor: u32, at: u32) -> vec4f {
  switch (tensor) {
    case OF_QUERIES: { return vec4f(q[at]); }
    case OF_KEYS: { return vec4f(k[at]); }
#if ${GRADIENT}
    case OF_D_OUTS: { return vec4f(dO[at]); }
#endif
    default: { return vec4f(v[at]); }
  }
}
#endif
