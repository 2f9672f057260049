/** Makes a table's headers buttons that sort it: once upward or downward, again the other way. */
export function sortable(table: HTMLTableElement): void {
  const body = table.tBodies[0]!;
  const heads = [...table.tHead!.rows[0]!.cells];
  heads.forEach((head, column) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: head.textContent });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("number");
      const before = head.getAttribute("aria-sort");
      // Of numbers the largest are wanted first.
      const up = before === null ? !numbers : before === "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...sorted([...body.rows], column, up));
      table.classList.add("sorted");
    });
  });
}

/** Rows by a column's numbers, else its text. Those without come last either way. */
function sorted(rows: readonly HTMLTableRowElement[], column: number, up: boolean): HTMLTableRowElement[] {
  const keyOf = (row: HTMLTableRowElement): number | string | undefined => {
    const { order } = row.cells[column]!.dataset;
    if (order !== undefined) return order === "" ? undefined : Number(order);
    const text = row.cells[column]!.textContent ?? "";
    return text === "-" ? undefined : text;
  };
  return rows
    .map((row) => ({ row, key: keyOf(row) }))
    .toSorted((a, b) => {
      if (a.key === undefined || b.key === undefined) return Number(a.key === undefined) - Number(b.key === undefined);
      const numbers = typeof a.key === "number" && typeof b.key === "number";
      const less = numbers ? Number(a.key) - Number(b.key) : String(a.key).localeCompare(String(b.key), "en", { numeric: true });
      return up ? less : -less;
    })
    .map(({ row }) => row);
}
