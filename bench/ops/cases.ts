/**
 * The shapes that the models really run, once, as data: the `ops` suite measures them, tests check them. Activations are channels-last,
 * f32, batch 1.
 */
export type OpShape =
  /** x [rows, in] times weight [in, out], plus bias. */
  | { readonly op: "linear"; readonly rows: number; readonly in: number; readonly out: number }
  /** x [1, size, size, in], weight [kernel, kernel, in, out], bias; padding keeps the size (halves it at stride 2). */
  | {
      readonly op: "conv2d";
      readonly size: number;
      readonly in: number;
      readonly out: number;
      readonly kernel: 1 | 3;
      readonly stride: 1 | 2;
    }
  /** q [1, queries, heads * head], k and v [1, keys, heads * head]. */
  | { readonly op: "attention"; readonly queries: number; readonly keys: number; readonly heads: number; readonly head: number }
  /** x [1, size, size, channels], then SiLU. */
  | { readonly op: "group-norm"; readonly size: number; readonly channels: number; readonly groups: number }
  | { readonly op: "layer-norm"; readonly rows: number; readonly width: number }
  /** x [rows, 2 * width] to [rows, width]. */
  | { readonly op: "geglu"; readonly rows: number; readonly width: number }
  | { readonly op: "softmax"; readonly rows: number; readonly width: number };

export interface OpCase {
  /** Says the op and its sizes; the same in every result file. */
  readonly name: string;
  readonly model: "sd14" | "emoji";
  readonly shape: OpShape;
}

/** `conv2d 3x3 320->640 @32`, `attention 1024x77 d40 h8`. */
export function caseName(s: OpShape): string {
  switch (s.op) {
    case "linear":
      return `linear ${s.rows}x${s.in}->${s.out}`;
    case "conv2d":
      return `conv2d ${s.kernel}x${s.kernel}${s.stride === 2 ? "/2" : ""} ${s.in}->${s.out} @${s.size}`;
    case "attention":
      return `attention ${s.queries}x${s.keys} d${s.head} h${s.heads}`;
    case "group-norm":
      return `group-norm ${s.channels} @${s.size}`;
    default:
      return `${s.op} ${s.rows}x${s.width}`;
  }
}

const conv = (size: number, input: number, out: number, kernel: 1 | 3 = 3, stride: 1 | 2 = 1): OpShape => ({
  op: "conv2d",
  size,
  in: input,
  out,
  kernel,
  stride,
});
const linear = (rows: number, input: number, out: number): OpShape => ({ op: "linear", rows, in: input, out });
const attention = (queries: number, keys: number, heads: number, head: number): OpShape => ({
  op: "attention",
  queries,
  keys,
  heads,
  head,
});

/**
 * Stable Diffusion 1.4's UNet for latents of `size` x `size` (64 is a 512 x 512 picture): three levels of 320, 640 and 1280 channels with
 * attention, a fourth without.
 * @throws RangeError unless the size is a multiple of 8
 */
export function sd14Cases(size: number): readonly OpCase[] {
  if (!Number.isInteger(size) || size < 8 || size % 8 !== 0) throw new RangeError(`latent size ${size} must be a multiple of 8`);
  const [s0, s1, s2, s3] = [size, size / 2, size / 4, size / 8];
  const [t0, t1, t2] = [s0 * s0, s1 * s1, s2 * s2];
  const shapes: readonly OpShape[] = [
    linear(t0, 320, 320),
    linear(t0, 320, 2560),
    linear(t0, 1280, 320),
    linear(t1, 640, 640),
    linear(t2, 1280, 1280),
    linear(t2, 1280, 10240),
    linear(77, 768, 1280),
    conv(s0, 4, 320),
    conv(s0, 320, 320),
    conv(s0, 640, 320),
    conv(s0, 320, 4),
    conv(s1, 640, 640),
    conv(s2, 1280, 1280),
    conv(s3, 1280, 1280),
    conv(s0, 640, 320, 1),
    conv(s0, 320, 320, 3, 2),
    attention(t0, t0, 8, 40),
    attention(t1, t1, 8, 80),
    attention(t2, t2, 8, 160),
    attention(t0, 77, 8, 40),
    attention(t1, 77, 8, 80),
    { op: "group-norm", size: s0, channels: 320, groups: 32 },
    { op: "group-norm", size: s2, channels: 1280, groups: 32 },
    { op: "layer-norm", rows: t0, width: 320 },
    { op: "layer-norm", rows: t2, width: 1280 },
    { op: "geglu", rows: t0, width: 1280 },
    { op: "softmax", rows: t0, width: t0 },
  ];
  return shapes.map((shape) => ({ name: caseName(shape), model: "sd14", shape }));
}

/** The bundled model's UNet at 16 x 16 latents: 48, 64 and 96 channels, four heads, 32 text tokens of width 128. */
export const EMOJI_CASES: readonly OpCase[] = (
  [
    linear(64, 64, 512),
    linear(32, 128, 64),
    conv(16, 48, 48),
    conv(8, 64, 64),
    conv(4, 96, 96),
    conv(16, 112, 48, 1),
    conv(16, 48, 48, 3, 2),
    attention(64, 64, 4, 16),
    attention(64, 32, 4, 16),
    { op: "group-norm", size: 16, channels: 48, groups: 16 },
    { op: "layer-norm", rows: 64, width: 64 },
    { op: "geglu", rows: 64, width: 256 },
    { op: "softmax", rows: 256, width: 256 },
  ] as const satisfies readonly OpShape[]
).map((shape: OpShape) => ({ name: caseName(shape), model: "emoji", shape }));

/** A few cheap ones that between them run every kind of op: what a smoke test measures. */
export const QUICK_CASES: readonly OpCase[] = EMOJI_CASES.filter((c, i) => EMOJI_CASES.findIndex((d) => d.shape.op === c.shape.op) === i);
