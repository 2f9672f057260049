// Of the `struct Params` of every product: what lib/gemm.wgsl reads.
  k: u32, n: u32, // inner length per tap, and number of columns
  rows: u32, batches: u32, // rows of one batch
  taps: u32, // how many times the inner loop runs, each with another address of A and another slice of B
  rowsPerImage: u32, // rows that share one row of batchBias
  batchBiasStride: u32, batchBiasOffset: u32, // from one such row to the next, and the first one
  bBatchStride: u32, // elements of B between batches (0: one B for all)
  columnTiles: u32, rowTiles: u32, rowsFirst: u32, // tiles are numbered down the rows first
  splits: u32, stepsPerSplit: u32, // workgroups that share the steps of a tile, and how many each takes; 1 and all of them without SPLIT
  hasBias: u32, hasBatchBias: u32, hasResidual: u32, // 0 or 1
  scale: f32,
