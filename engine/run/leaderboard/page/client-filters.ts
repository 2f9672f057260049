/** What can be filtered by: facts of rows and attempts, as they stand in their data attributes. */
const FACTS = ["checkpoint", "attacker", "concept", "outcome"] as const;

/** Fields that leave of the leaderboard and of the attempts what they say. They are made here: without scripts there are none. */
export function addFilters(form: HTMLFormElement): void {
  const rows = [...document.querySelectorAll<HTMLElement>("tr[data-checkpoint]")];
  const attempts = [...document.querySelectorAll<HTMLElement>("details.attempt")];
  const selects = FACTS.map((name) => {
    const values = [...new Set([...rows, ...attempts].flatMap((e) => e.dataset[name] ?? []))];
    const select = document.createElement("select");
    select.append(new Option("all", ""), ...values.map((value) => new Option(value, value)));
    form.append(labelled(name, select));
    return { name, select };
  });
  const text = Object.assign(document.createElement("input"), { type: "search", placeholder: "a prompt, a case, a label" });
  const count = Object.assign(document.createElement("output"), { className: "hint" });
  form.append(labelled("text", text), count);

  const apply = (): void => {
    const wanted = text.value.trim().toLowerCase();
    const chosen = (fact: string | undefined, value: string): boolean => value === "" || fact === undefined || fact === value;
    const fits = (element: HTMLElement): boolean =>
      selects.every(({ name, select }) => chosen(element.dataset[name], select.value)) &&
      (wanted === "" || element.dataset["text"] === undefined || element.dataset["text"].toLowerCase().includes(wanted));
    for (const element of [...rows, ...attempts]) element.hidden = !fits(element);
    for (const section of document.querySelectorAll<HTMLElement>("section.cell")) {
      section.hidden = section.querySelector("details.attempt") !== null && !section.querySelector("details.attempt:not([hidden])");
    }
    const left = (elements: readonly HTMLElement[]): string => `${elements.filter((e) => !e.hidden).length} of ${elements.length}`;
    count.value = `${left(rows)} rows, ${left(attempts)} attempts`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}

function labelled(name: string, field: HTMLElement): HTMLLabelElement {
  const label = document.createElement("label");
  label.append(Object.assign(document.createElement("span"), { textContent: name }), field);
  return label;
}
