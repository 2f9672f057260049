import { escape } from "../../report/html.ts";
import { type Board, type Column, cellText, shownColumns } from "../columns.ts";

/** What a row of the page's table has besides its cells. */
export interface RowLook<Row> {
  readonly attributes?: (row: Row, before: Row | undefined) => string;
  /** Where the first naming column leads to. */
  readonly link?: (row: Row) => { readonly column: string; readonly to: string };
}

/** The table as HTML, in a box that scrolls sideways where it is too wide. A script makes it sortable by its headers. */
export function htmlTable<Row>(
  caption: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  board: Board,
  { attributes, link }: RowLook<Row> = {},
): string {
  const shown = shownColumns(columns, board);
  const head = shown.map((c) => `<th scope="col"${isNumber(c) ? ' class="number"' : ""}>${escape(c.title)}</th>`).join("");
  const body = rows.map((row, i) => {
    const cells = shown.map((column) => {
      const text = quietBrackets(cellText(column, row, board));
      const { column: linked, to } = link?.(row) ?? {};
      const order = column.order?.(row);
      const share = column.share?.(row);
      const classes = [isNumber(column) && "number", column.wraps && "wraps", share !== undefined && "bar"].filter(
        (c) => typeof c === "string",
      );
      return `<td${classes.length > 0 ? ` class="${classes.join(" ")}"` : ""}` +
        `${order === undefined ? "" : ` data-order="${Number.isFinite(order) ? order : ""}"`}` +
        `${share === undefined ? "" : ` style="--share:${(100 * share).toFixed(1)}%"`}>` +
        `${linked === column.title ? `<a href="${escape(to!)}">${text}</a>` : text}</td>`;
    });
    return `<tr${attributes?.(row, rows[i - 1]) ?? ""}>${cells.join("")}</tr>`;
  });
  const table = `<table class="sortable"><caption class="sr">${escape(caption)}</caption><thead><tr>${head}</tr></thead><tbody>\n` +
    `${body.join("\n")}\n</tbody></table>`;
  return scrolling(`${caption}, as a table`, table, "board");
}

function isNumber(column: Pick<Column<never>, "names" | "wraps">): boolean {
  return !column.names && !column.wraps;
}

/** A box that scrolls sideways and says so: shadows at its edges where there is more. */
export function scrolling(label: string, content: string, className = ""): string {
  return `<div class="scroll ${className}" role="region" aria-label="${escape(label)}" tabindex="0">${content}</div>`;
}

/** Intervals and footnotes a little smaller. */
function quietBrackets(text: string): string {
  return escape(text).replace(/\[[^\]]*\]/g, (part) => `<small>${part}</small>`);
}
