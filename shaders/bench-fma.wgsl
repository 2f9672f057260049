// The most multiply-adds an adapter can do: six independent chains of vec4 per invocation, all in registers, 48 vec4 fma per turn.
// Bindings: y: one vec4f per invocation, written so that nothing can be left out.
// Defines: HALF: arithmetic in f16 (needs shader-f16).
#if ${HALF}
enable f16;
alias V = vec4<f16>;
alias S = f16;
#else
alias V = vec4f;
alias S = f32;
#endif
${POINTWISE}

struct Params { count: u32, turns: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<vec4f>;

fn element(i: u32) {
  // m below 1, so that the values converge; n not 0, or they would become subnormal, which CPUs are slow at; from the index, so that
  // neither is known beforehand.
  let m = V(S(f32(i % 61u) / 128.0 + 0.25));
  let n = V(S(f32(i % 53u + 1u) / 256.0));
  var a0 = n; var a1 = n + S(0.125); var a2 = n + S(0.25);
  var a3 = n + S(0.375); var a4 = n + S(0.5); var a5 = n + S(0.625);
  for (var turn = 0u; turn < params.turns; turn++) {
#unroll part < 8
    a0 = fma(a0, m, n); a1 = fma(a1, m, n); a2 = fma(a2, m, n); a3 = fma(a3, m, n); a4 = fma(a4, m, n); a5 = fma(a5, m, n);
#endunroll
  }
  y[i] = vec4f(((a0 + a1) + (a2 + a3)) + (a4 + a5));
}
