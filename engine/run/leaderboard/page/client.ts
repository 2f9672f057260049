/**
 * What the report does in a browser besides being read: tables that sort and filter, a slider over the pictures of a search, and links that
 * open what they lead to. It is put into the page as text and needs nothing else.
 */
import { addFilters } from "./client-filters.ts";
import { sortable } from "./client-sort.ts";

/** The strip of a search's pictures as one picture with a slider. */
function addSlider(strip: HTMLElement): void {
  const frames = [...strip.querySelectorAll<HTMLElement>("li")];
  const slider = Object.assign(document.createElement("input"), {
    type: "range",
    min: "1",
    max: String(frames.length),
    value: String(frames.length),
  });
  slider.setAttribute("aria-label", "Picture of the search");
  const show = (): void => {
    frames.forEach((frame, i) => frame.toggleAttribute("data-current", i + 1 === Number(slider.value)));
    slider.setAttribute("aria-valuetext", frames[Number(slider.value) - 1]?.querySelector("strong")?.textContent ?? "");
  };
  slider.addEventListener("input", show);
  strip.before(slider);
  strip.classList.add("sliding");
  show();
}

/** Opens what an address leads to, and everything around it. */
function openTarget(): void {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at: HTMLElement | null = target; at; at = at.parentElement) if (at instanceof HTMLDetailsElement) at.open = true;
  target?.scrollIntoView();
}

document.querySelectorAll<HTMLElement>(".frames").forEach(addSlider);
document.querySelectorAll<HTMLTableElement>("table.sortable").forEach(sortable);
const form = document.querySelector<HTMLFormElement>("form.filters");
if (form) addFilters(form);
addEventListener("hashchange", openTarget);
if (location.hash !== "") openTarget();
