/** What is used of pdfkit, as it is built for browsers: fonts by name, no file is read. See scripts/build.mjs. */
declare module "pdfkit" {
  export interface StandardFont {
    readonly name: string;
  }
  export class PDFDocument {
    constructor(options: {
      readonly size: readonly [number, number];
      readonly margin: number;
      readonly info: { readonly CreationDate: Date; readonly Producer: string };
    });
    on(event: "data", listener: (part: Uint8Array) => void): this;
    on(event: "end", listener: () => void): this;
    on(event: "error", listener: (error: Error) => void): this;
    end(): void;
  }
  export function registerStdFonts(...fonts: readonly StandardFont[]): void;
}

declare module "pdfkit/standard-fonts/*" {
  const font: import("pdfkit").StandardFont;
  export default font;
}

declare module "svg-to-pdfkit" {
  import type { PDFDocument } from "pdfkit";
  /** @throws what `warningCallback` throws, for what it cannot draw */
  export default function drawSvg(
    document: PDFDocument,
    svg: string,
    x: number,
    y: number,
    options: {
      readonly width: number;
      readonly height: number;
      readonly assumePt: boolean;
      readonly fontCallback: (family: string, bold: boolean, italic: boolean) => string;
      readonly warningCallback: (message: string) => void;
    },
  ): void;
}
