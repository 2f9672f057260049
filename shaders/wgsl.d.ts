/** A `.wgsl` file imported as its text (the bundler's text loader). */
declare module "*.wgsl" {
  const source: string;
  export default source;
}
