import { el } from "./dom.ts";

interface Advice {
  readonly title: string;
  readonly advice: readonly string[];
}

const FIREFOX =
  "Firefox: WebGPU is on from 141 (Windows) and 145 (macOS on Apple silicon); elsewhere use Nightly, or set dom.webgpu.enabled to true " +
    "in about:config.";
const SAFARI = "Safari: WebGPU is on from 26; before that, turn it on under Develop > Feature Flags > WebGPU.";
const SOFTWARE = "Software rendering also works, slowly: start Chrome with --enable-unsafe-webgpu.";
const CHROME =
  "Chrome or Edge: WebGPU is on from 113 on Windows, macOS and ChromeOS, and from 121 on Android. On Linux, or where the GPU is on a " +
    "block list, open chrome://flags/#enable-unsafe-webgpu, choose Enabled and restart; chrome://gpu says what is missing.";

/** What to do in this browser to get WebGPU. */
export function webGpuAdvice(userAgent: string): string[] {
  const own = /Firefox\//.test(userAgent)
    ? [FIREFOX]
    : /Edg\/|Chrome\/|Chromium\//.test(userAgent)
      ? [CHROME]
      : /Safari\//.test(userAgent)
        ? [SAFARI]
        : [CHROME, SAFARI, FIREFOX];
  return [...own, SOFTWARE, "The page must be opened over https, or from localhost."];
}

/** Where the browser has WebGPU, but no GPU for it. */
const NO_GPU = [
  "Hardware acceleration is off, the GPU's driver is too old or on the browser's block list, or the machine has no GPU. Turn " +
    "acceleration on in the browser's settings (System) and restart it; chrome://gpu, or about:support in Firefox, says what is missing.",
  "On Linux, Chrome needs chrome://flags/#enable-unsafe-webgpu, and a Vulkan driver.",
];

/** What an error means for somebody at the page. */
function adviceFor(name: string, message: string): Advice {
  if (name === "NoAdapterError" && !isSecureContext) {
    return {
      title: "WebGPU is not given to this address",
      advice: ["Browsers give WebGPU only to pages opened over https, or from localhost: open this page so."],
    };
  }
  if (name === "NoAdapterError" && !/navigator\.gpu is missing/.test(message)) {
    return { title: "The browser finds no GPU it can use", advice: [...NO_GPU, SOFTWARE] };
  }
  if (name === "NoAdapterError") return { title: "There is no WebGPU here", advice: webGpuAdvice(navigator.userAgent) };
  if (name === "DeviceLostError") {
    return {
      title: "The GPU was lost",
      advice: [
        "The browser or the driver took it away: it hung, was reset, or memory ran out. What was judged before is kept, and an attack " +
          "can be resumed.",
        "If it happens again, close other tabs that use the GPU, store weights as float16, or take a smaller model.",
      ],
    };
  }
  if (/out-of-memory|out of memory|allocation failed/i.test(message)) {
    return {
      title: "The GPU has not enough memory",
      advice: [
        "Store weights as float16 (More settings), close other tabs and programs that use the GPU, or take a smaller model. Nothing was " +
          "drawn from a part of a model.",
      ],
    };
  }
  if (/this device binds at most|maxBufferSize/.test(message)) {
    return {
      title: "A tensor is larger than this GPU allows",
      advice: ["The device's limits are under Kernels. Store weights as float16, or take a smaller model."],
    };
  }
  if (name === "QuotaExceededError") {
    return {
      title: "This browser has no room left for the page",
      advice: ["Delete models under Models, or free space on the disk. A dropped file needs no room: it is read in place."],
    };
  }
  if (name === "InputError" && / label "/.test(message)) return { title: "The judge does not know this label", advice: [] };
  if (name === "FormatError" || name === "InputError" || name === "TokenizerError") return { title: "A file cannot be used", advice: [] };
  if (name === "UsageError" || name === "RangeError" || name === "SchedulerConfigError") {
    return { title: "These settings do not work", advice: [] };
  }
  if (name === "GpuError" || name === "ShaderCompileError") {
    return { title: "The GPU reported an error", advice: ["Run the self-test under Kernels and copy its tables into a report."] };
  }
  if (name === "WorkerError") {
    return {
      title: "The page's engine did not start",
      advice: ["Some of the page's files may be missing, or the browser is too old for them: reload the page, or use a recent browser."],
    };
  }
  return { title: "Something went wrong", advice: [] };
}

/** An error as a box with what to do; read out at once by screen readers. */
export function problemBox(error: unknown): HTMLElement {
  const [name, message] = error instanceof Error ? [error.name, error.message] : ["Error", String(error)];
  const { title, advice } = adviceFor(name, message);
  const more = advice.length > 1 ? [el("details", {}, el("summary", {}, "What to do"), ...advice.map((a) => el("p", {}, a)))] : [];
  const only = advice.length === 1 ? [el("p", {}, advice[0]!)] : [];
  return el("div", { class: "notice bad", role: "alert" }, el("h2", {}, title), el("p", {}, message), ...only, ...more);
}

export function isCancelled(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}
