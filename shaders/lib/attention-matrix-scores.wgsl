// Inside main of the shaders with lib/attention-matrix.wgsl: the scores of a subgroup's own rows, whose fragments are a0_0 (of the first
// band, with the head's first part) and so on, with the COLUMNS columns from `begin` of those staged; they go to its tiles in workgroup
// memory. In the gradients also dO v of every pair, behind its score: of the rows b0_0 and so on with the columns staged second.
      for (var n = 0u; n < COLUMNS; n += N) {
#unroll r < ${FRAGMENTS}
        var sum$r = Sum(); // given a value, or it keeps the sums of the round before (seen with Dawn of webgpu 0.6.2)
#if ${FORWARD}
#else
        var dSum$r = Sum();
#endif
#endunroll
#unroll k < ${HEAD_K}
        let x$k = subgroupMatrixLoad<Right, col_major>(&columns, (begin + n) * STRIDE + $k * K / 4u, STRIDE);
#if ${FORWARD}
#else
        let y$k = subgroupMatrixLoad<Right, col_major>(&columns, SECOND + (begin + n) * STRIDE + $k * K / 4u, STRIDE);
#endif
#unroll r < ${FRAGMENTS}
        sum$r = ${MULTIPLY}(a$r_$k, x$k, sum$r);
#if ${FORWARD}
#else
        dSum$r = ${MULTIPLY}(b$r_$k, y$k, dSum$r);
#endif
#endunroll
#endunroll
#unroll r < ${FRAGMENTS}
        subgroupMatrixStore<row_major>(&scores, tile + $r * TILES * TILE + n / 4u, sum$r, TILE_STRIDE);
#if ${FORWARD}
#else
        subgroupMatrixStore<row_major>(&scores, tile + ($r * TILES + 1) * TILE + n / 4u, dSum$r, TILE_STRIDE);
#endif
#endunroll
      }
