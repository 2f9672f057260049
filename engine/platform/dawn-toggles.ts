/**
 * The toggles that Dawn is created with, by its own names.
 * @param robust have every access of a shader clamped to its buffer
 */
export function dawnToggles(robust: boolean): string[] {
  return [
    "allow_unsafe_apis", // matrix units are an experimental feature, which an adapter offers only so
    "vulkan_enable_f16_on_nvidia", // without it Dawn hides shader-f16 on NVIDIA, and every matrix configuration of floats
    // Clamped accesses cost a fifth of a UNet pass on an H100, and half of a good matrix tile. No shader relies on them: the test of bounds
    // runs each with guard words around every buffer, and gets the same bits both ways. Workgroup memory is never read before it is
    // written.
    ...(robust ? [] : ["disable_robustness", "disable_workgroup_init"]),
  ];
}
