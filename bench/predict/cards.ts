import type { Capabilities } from "../../kernels/kernel.ts";

/** What a card can do at best: the ceilings of a prediction. */
export interface Card {
  readonly name: string;
  /** 10^9 multiply-add operations in f32 per second. */
  readonly gflops: number;
  /** The same of products on matrix units: f16 operands, f32 sums, dense. */
  readonly matrixGflops: number;
  /** 10^9 bytes read and written per second. */
  readonly gbps: number;
  /** Microseconds that a dispatch takes beyond its work: starting, and waiting for the one before. */
  readonly launchMicroseconds: number;
  /** Where the figures come from. */
  readonly source: string;
}

/**
 * Between two dependent dispatches. Measured on the H100 with its smallest ones: 169 dispatches of the text encoder, whose work is below
 * 0.3 ms, take 1.98 ms at best, so some 10; other cards are taken to be alike.
 */
const LAUNCH = 10;

/** Data sheets say what the hardware could do. On the H100 WGSL was seen to reach less, and that is what stands here. */
export const CARDS: Readonly<Record<string, Card>> = {
  h100: {
    name: "NVIDIA H100 SXM",
    gflops: 63_800,
    matrixGflops: 232_000,
    gbps: 2740,
    launchMicroseconds: LAUNCH,
    source: "measured through WebGPU: multiply-adds, the best matrix product in WGSL (8192 cubed), a copy",
  },
  a100: {
    name: "NVIDIA A100 SXM 80GB",
    gflops: 19_500,
    matrixGflops: 312_000,
    gbps: 2039,
    launchMicroseconds: LAUNCH,
    source: "data sheet",
  },
  rtx4090: {
    name: "NVIDIA GeForce RTX 4090",
    gflops: 82_600,
    matrixGflops: 165_200,
    gbps: 1008,
    launchMicroseconds: LAUNCH,
    source: "data sheet",
  },
  l4: { name: "NVIDIA L4", gflops: 30_300, matrixGflops: 121_000, gbps: 300, launchMicroseconds: LAUNCH, source: "data sheet" },
};

/** How a program is planned for such a card: subgroups of 32, the limits that desktop cards have. */
export const CARD_CAPABILITIES: Capabilities = {
  subgroupSize: 32,
  software: false,
  shaderF16: true,
  maxComputeWorkgroupStorageSize: 49_152,
  maxComputeInvocationsPerWorkgroup: 1024,
  maxStorageBufferBindingSize: 2 ** 31 - 4,
};
