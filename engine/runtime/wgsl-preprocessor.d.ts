declare module "wgsl-preprocessor/wgsl-preprocessor.js" {
  /**
   * Resolves `#if ${value}`, `#elif ${value}`, `#else` and `#endif`; other values go into the text.
   * @throws Error on unbalanced symbols.
   */
  export function wgsl(strings: readonly string[], ...values: readonly (string | number | boolean)[]): string;
}
