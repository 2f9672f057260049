// GPUBufferUsage is a global in browsers only; these are the specification's numbers.
const MAP_READ = 0x1;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const STORAGE = 0x80;

/** The kinds of buffers there are. */
export const BufferUsage = {
  storage: STORAGE | COPY_SRC | COPY_DST,
  staging: MAP_READ | COPY_DST,
  uniform: 0x40 | COPY_DST,
  query: 0x200 | COPY_SRC,
} as const;
