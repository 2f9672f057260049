/** A script of the page as text, bundled when the product is built: the module of that name beside it (scripts/build.mjs). */
declare module "*.inline" {
  const text: string;
  export default text;
}
