/** Bad input to the tokenizer: a malformed file, a missing special token, an id outside the vocabulary. The message is one clear line. */
export class TokenizerError extends Error {
  override readonly name = "TokenizerError";
}
