// The power of two that brings the largest magnitude of a gradient into [8, 16), at most 2^40 and at least 2^-40; 1 for a gradient that is
// zero or not finite. One workgroup; a thread takes a strided share of vec4s.
// Bindings: x: vec4s, the last perhaps partly padding; y: one f32.

// elements: f32s of x
struct Params { elements: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// Magnitudes as bits: of floats that are not negative, the larger has the larger bits; infinity and NaN have the largest.
var<workgroup> largest: array<u32, 256>;

fn magnitude(v: vec4f, valid: vec4<bool>) -> u32 {
  let bits = select(vec4u(), bitcast<vec4u>(v) & vec4u(0x7fffffffu), valid);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
  let whole = params.elements / 4u;
  var most = 0u;
  for (var i = local; i < whole; i += 256u) { most = max(most, magnitude(x[i], vec4<bool>(true))); }
  let rest = params.elements % 4u;
  if (rest > 0u && local == 0u) { most = max(most, magnitude(x[whole], vec4u(0u, 1u, 2u, 3u) < vec4u(rest))); }
  largest[local] = most;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (local < half) { largest[local] = max(largest[local], largest[local + half]); }
    workgroupBarrier();
  }
  if (local == 0u) {
    let exponent = largest[0] >> 23u; // the magnitude lies in [2^(exponent - 127), 2^(exponent - 126))
    let scale = bitcast<f32>(u32(clamp(257 - i32(exponent), 87, 167)) << 23u);
    y[0] = select(scale, 1.0, largest[0] == 0u || exponent == 255u);
  }
}
