/** Addresses of the hub's pages, as they are copied from a browser. */

/** What a page shows: a model, or a folder or file in it. */
export interface HubPage {
  readonly id: string;
  readonly revision: string | undefined;
  readonly path: string | undefined;
}

const HUB = /^https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\//;
const PAGE = /^([^/?#\s]+\/[^/?#\s]+)(?:\/(?:tree|blob|resolve|raw)\/([^/?#\s]+)(?:\/([^?#\s]+))?)?\/?(?:[?#].*)?$/;

/** What a page of the hub shows; undefined for any other address. */
export function parseHubPage(address: string): HubPage | undefined {
  const parts = HUB.test(address) ? PAGE.exec(address.replace(HUB, ""))?.slice(1) : undefined;
  if (!parts) return undefined;
  const [id, revision, path] = parts.map((part: string | undefined) =>
    part === undefined ? undefined : decodeURIComponent(part).replace(/\/$/, ""),
  );
  return { id: id!, revision, path };
}

/** Where the files lie that a page shows; any other address as it is. */
export function filesOfPage(address: string): string {
  const page = parseHubPage(address);
  if (!page) return address;
  const path = [page.revision ?? "main", ...(page.path?.split("/") ?? [])].map(encodeURIComponent).join("/");
  return `https://huggingface.co/${page.id}/resolve/${path}`;
}
