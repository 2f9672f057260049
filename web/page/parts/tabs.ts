/** The row of tabs, as the ARIA pattern has it: arrow keys move, one tab is in the order of the Tab key, and the address names it. */
export function startTabs(tablist: HTMLElement, onShow: (name: string) => void): (name: string) => void {
  const tabs = [...tablist.querySelectorAll<HTMLElement>('[role="tab"]')];
  /** An address without a tab stays so at first: to change it while the page loads would scroll there. */
  let started = false;
  const show = (tab: HTMLElement, focus: boolean): void => {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")!)!.hidden = !chosen;
    }
    const name = tab.getAttribute("aria-controls")!;
    if (started && location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
    if (focus) tab.focus();
    // On a phone the row is wider than the screen.
    if (started) tab.scrollIntoView({ block: "nearest", inline: "center" });
    onShow(name);
  };
  const byName = (name: string): HTMLElement | undefined => tabs.find((tab) => tab.getAttribute("aria-controls") === name);
  tablist.onclick = (event): void => {
    const tab = (event.target as HTMLElement).closest<HTMLElement>('[role="tab"]');
    if (tab) show(tab, false);
  };
  tablist.onkeydown = (event): void => {
    const at = tabs.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowRight: (at + 1) % tabs.length, ArrowLeft: (at + tabs.length - 1) % tabs.length, Home: 0, End: tabs.length - 1 }[
      event.key
    ];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    show(tabs[to]!, true);
  };
  window.onhashchange = (): void => {
    const tab = byName(location.hash.slice(1));
    if (tab) show(tab, false);
  };
  show(byName(location.hash.slice(1)) ?? tabs[0]!, false);
  started = true;
  return (name) => {
    const tab = byName(name);
    if (tab) show(tab, false);
  };
}
