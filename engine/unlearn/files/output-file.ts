/** A file of a layout. */
export interface OutputFile {
  /** Below the output, with "/"; "" is the output itself. */
  readonly name: string;
  readonly pieces: AsyncIterable<Uint8Array<ArrayBuffer>>;
}
