// Names of WebGPU for compilers whose DOM library has none yet (TypeScript 5): empty there, and merged with the real ones elsewhere.
// To use `device.gpu` itself, such a project adds @webgpu/types.
interface GPU {}
interface GPUAdapter {}
interface GPUAdapterInfo {}
interface GPUBindGroup {}
interface GPUBindGroupLayout {}
interface GPUBuffer {}
interface GPUBufferBinding {}
interface GPUCommandEncoder {}
interface GPUComputePipeline {}
interface GPUDevice {}
interface GPUSupportedLimits {}
