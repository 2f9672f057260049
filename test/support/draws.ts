/** The number in [0, 1) by which each row of a simplex, f32 [tokens, vocabulary], draws its token: the middle of the token's share. */
export function drawsOf(simplex: Float32Array, tokens: readonly number[]): Float32Array<ArrayBuffer> {
  const vocabulary = simplex.length / tokens.length;
  return Float32Array.from(tokens, (token, j) => {
    const row = simplex.subarray(j * vocabulary, (j + 1) * vocabulary);
    const sum = (end: number): number => row.subarray(0, end).reduce((s, x) => s + x, 0);
    if (!(row[token]! > 0)) throw new Error(`token ${token} is never drawn from row ${j}`);
    return (sum(token) + row[token]! / 2) / sum(vocabulary);
  });
}
