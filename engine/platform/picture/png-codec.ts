/** PNG pictures from and to 8-bit RGB: by pngjs in Node, by the browser's decoder in a page. */
export { decodePng } from "./decode-png.ts";
export { encodePng } from "./encode-png.ts";
