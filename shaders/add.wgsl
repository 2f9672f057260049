// y = a + b, same shape. One thread per vec4.
// Bindings: a, b, y: count vec4s each. Defines: IN_PLACE (a is y).
${POINTWISE}

struct Params { count: u32 }

#if ${IN_PLACE}
#else
@group(0) @binding(0) var<storage, read> a: array<${a as vec4f}>;
#endif
@group(0) @binding(1) var<storage, read> b: array<${b as vec4f}>;
@group(0) @binding(2) var<storage, read_write> y: array<${y as vec4f}>;

fn element(i: u32) {
#if ${IN_PLACE}
  y[i] += vec4f(b[i]);
#else
  y[i] = ${y as vec4f}(vec4f(a[i]) + vec4f(b[i]));
#endif
}
