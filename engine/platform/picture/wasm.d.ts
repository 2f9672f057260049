/** A WebAssembly module, put into the bundle as its bytes. */
declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  // oxlint-disable-next-line import/no-default-export -- the bundler's form
  export default bytes;
}
