import recorded from "../story/recording.json";
import type { Frame, Recording, Seen } from "../story/recording.ts";
import { el, find, places, promptText } from "./parts/dom.ts";
import { problemBox } from "./parts/problems.ts";
import { shareButton } from "./parts/share.ts";
import { type Verdict, triptych } from "./parts/triptych.ts";

const RECORDING = recorded as unknown as Recording;
/** Of a frame of the search, and of a picture that is looked at. */
const FRAME_MILLISECONDS = 130;
const PICTURE_MILLISECONDS = 900;

/** The first tab: a recorded attack, which plays without a GPU, and the way to a live one. */
export class Story {
  /** `play` is what is seen while it plays. */
  private readonly at: Readonly<Record<"stage" | "line" | "prompt" | "verdict" | "play", HTMLElement>>;
  private playing = 0;

  constructor(private readonly root: HTMLElement, live: () => void) {
    this.at = places(root, ["stage", "line", "prompt", "verdict", "play"]);
    find<HTMLButtonElement>(root, "[data-live]").onclick = live;
    find<HTMLButtonElement>(root, "[data-end]").onclick = () => this.end();
    // Whoever wants no motion gets the end of the story at once, and the rest on demand.
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) this.end();
    else void this.play();
  }

  /** A live run can be had. @param hint what it takes */
  allowLive(hint: string): void {
    find<HTMLButtonElement>(this.root, "[data-live]").disabled = false;
    find(this.root, "[data-live-hint]").textContent = hint;
  }

  /** There is no device for it: the page says why above. */
  refuseLive(): void {
    find<HTMLButtonElement>(this.root, "[data-live]").disabled = true;
    find(this.root, "[data-live-hint]").textContent = "It needs WebGPU.";
  }

  /** Plays the recording from its start. Another call, or `end`, takes its place. */
  async play(): Promise<void> {
    const mine = ++this.playing;
    const wait = async (milliseconds: number): Promise<boolean> => {
      await new Promise((done) => setTimeout(done, milliseconds));
      return mine === this.playing;
    };
    const [first, ...others] = RECORDING.tried;
    this.at.play.hidden = false;
    this.at.verdict.hidden = true;
    this.showSlots(undefined);
    this.show(RECORDING.before, "Before", "This model draws a church when it is asked for one.");
    if (!(await wait(2 * PICTURE_MILLISECONDS))) return;
    this.show(first!, "After unlearning", `Then it was made to forget churches. Asked for one, it draws a ${first!.label}.`);
    if (!(await wait(2 * PICTURE_MILLISECONDS))) return;
    let next = 0;
    for (const frame of RECORDING.frames) {
      this.showSlots(frame);
      this.at.line.textContent = `Did it really forget? A search tries tokens in front of the prompt. Iteration ${frame.iteration}.`;
      if (!(await wait(FRAME_MILLISECONDS))) return;
      while (next < others.length && others[next]!.iteration <= frame.iteration) {
        const seen = others[next++]!;
        if (next === others.length) break;
        this.show(seen, `Iteration ${seen.iteration}`, `The judge looks at a picture: ${seen.label}. The search goes on.`);
        if (!(await wait(PICTURE_MILLISECONDS))) return;
      }
    }
    this.end();
  }

  /** The end of the story: the verdict in the place of the stage. */
  end(): void {
    this.playing++;
    const verdict = storyVerdict();
    const last = RECORDING.tried.at(-1)!;
    const text = `After ${last.iteration} iterations, with the words that are marked, it draws a ${last.label} again.`;
    const again = el("button", { type: "button" }, "Play again");
    again.onclick = () => void this.play();
    const share = shareButton(verdict, () => false, (error) => this.at.verdict.append(problemBox(error)));
    this.at.verdict.replaceChildren(
      el("h2", {}, verdict.headline),
      el("p", { class: "line" }, text),
      triptych(verdict, false),
      el("p", { class: "actions" }, again, share),
    );
    const hadFocus = this.at.play.contains(document.activeElement);
    this.at.play.hidden = true;
    this.at.verdict.hidden = false;
    if (hadFocus) again.focus();
  }

  private show({ picture, label, score }: Seen, title: string, text: string): void {
    const image = el("img", { src: picture, alt: `${title}: the judge sees a ${label}`, width: "64", height: "64" });
    const judged = el("span", {}, `judged ${label}; score of ${RECORDING.label}: ${score.toFixed(3)}`);
    this.at.stage.replaceChildren(image, el("p", {}, el("strong", {}, title), judged));
    this.at.line.textContent = text;
  }

  /** The prompt with its slots; undefined: without. */
  private showSlots(frame: Frame | undefined): void {
    const slots = (frame?.slots ?? []).map(([piece, share]) => {
      const slot = el("mark", {}, promptText(piece.trim()));
      slot.style.setProperty("--share", String(share));
      return slot;
    });
    this.at.prompt.replaceChildren(...slots, promptText(RECORDING.prompt));
  }
}

/** The recorded attack's verdict. */
function storyVerdict(): Verdict {
  const { before, tried, prompt, label } = RECORDING;
  const [first, last] = [tried[0]!, tried.at(-1)!];
  // A picture is in the recording itself: the page's policy lets nothing be fetched from a data address.
  const panel = (title: string, seen: Seen): Verdict["panels"][number] => {
    const bytes = Uint8Array.from(atob(seen.picture.split(",")[1]!), (c) => c.charCodeAt(0));
    return { title, label: seen.label, prompt: seen.prompt, picture: new Blob([bytes], { type: "image/webp" }) };
  };
  return {
    headline: `The model did not forget ${label}`,
    success: true,
    plain: prompt,
    panels: [panel("Before", before), panel("\u201cForgotten\u201d", first), panel("Recovered", last)],
  };
}
