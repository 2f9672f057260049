/** A real Chromium on a page of ours, with everything it asks for written down. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setPriority } from "node:os";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";
import { type Roots, createPageServer } from "../../cli/tools/web/server.ts";

const CANDIDATES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** WebGPU on a machine without a GPU, and none of the browser's own requests. */
const FLAGS = [
  "--no-sandbox",
  "--enable-unsafe-webgpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--disable-dev-shm-usage",
];

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** Microseconds, by the clock and of the thread. */
  readonly dur?: number;
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

/** Run in the Worker before its own code, so that a test can reach the device: `self.gpuDevice`. */
const CATCH_DEVICE = "{ const request = GPUAdapter.prototype.requestDevice; GPUAdapter.prototype.requestDevice = async function " +
  `(...args) { return (self.gpuDevice = await request.apply(this, args)); }; }\n`;

export interface Visit {
  readonly page: Page;
  /** Every address asked for by the page or its Worker. */
  readonly requests: readonly string[];
  /** Uncaught errors and what the page wrote to the console as an error. */
  readonly errors: readonly string[];
}

export class TestBrowser {
  private constructor(private readonly browser: Browser, private readonly server: Server, readonly origin: string) {}

  /** @throws Error saying how to get a Chromium if there is none */
  static async start(roots: Roots): Promise<TestBrowser> {
    const executablePath = process.env.LETHE_CHROMIUM ?? CANDIDATES.find((path) => existsSync(path));
    if (!executablePath) throw new Error("no Chromium found: apt-get install chromium, or name one in LETHE_CHROMIUM");
    const server = createPageServer(roots);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    console.log(`browser: ${browser.version()}`);
    return new TestBrowser(browser, server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  }

  /**
   * A page with storage of its own.
   * @param workerPrefix script that its Worker runs first; with one, Chromium takes the Worker for one from another network and lets it
   * reach no other local server
   */
  async visit(path: string, workerPrefix = CATCH_DEVICE): Promise<Visit> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
    const requests: string[] = [];
    const errors: string[] = [];
    context.on("request", (request) => void requests.push(request.url()));
    if (workerPrefix !== "") await this.patchWorker(context, workerPrefix);
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    page.on("pageerror", (error) => void errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && void errors.push(message.text()));
    await page.goto(this.origin + path);
    return { page, requests, errors };
  }

  /**
   * Gives the page's main threads the processor before the threads of the software adapter, which a machine with a GPU does not have: what
   * is measured of the page is then its own work and not its waiting for a core. Where that is not allowed, all goes on as it is.
   */
  async preferPage(): Promise<void> {
    const session = await this.browser.newBrowserCDPSession();
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    await session.detach();
    for (const { id, type } of processInfo) {
      if (type === "renderer") tryPriority(id, -15);
      if (type === "GPU" && existsSync(`/proc/${id}/task`)) {
        for (const thread of readdirSync(`/proc/${id}/task`)) tryPriority(Number(thread), 10);
      }
    }
  }

  /** Traces the tasks of the page's main thread during some work, wall-clock and CPU milliseconds of each. */
  async traceTasks(page: Page, work: () => Promise<void>): Promise<{ readonly wall: number; readonly cpu: number }[]> {
    await this.browser.startTracing(page, { categories: ["toplevel"] });
    await work();
    const { traceEvents } = JSON.parse((await this.browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
    const key = ({ pid, tid }: TraceEvent): string => `${pid} ${tid}`;
    const mains = new Set(traceEvents.filter((e) => e.name === "thread_name" && e.args?.name === "CrRendererMain").map(key));
    return traceEvents
      .filter((e) => e.ph === "X" && /RunTask/.test(e.name) && mains.has(key(e)))
      .map((e) => ({ wall: (e.dur ?? 0) / 1000, cpu: (e.tdur ?? 0) / 1000 }));
  }

  private async patchWorker(context: BrowserContext, prefix: string): Promise<void> {
    await context.route("**/worker.js", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: prefix + (await response.text()) });
    });
  }

  async stop(): Promise<void> {
    await this.browser.close();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function tryPriority(thread: number, nice: number): void {
  try {
    setPriority(thread, nice);
  } catch {
    // not allowed, or the thread has ended
  }
}

/** Waits until an element's text matches, and gives the text. */
export async function waitForText(page: Page, selector: string, pattern: RegExp, timeout = 180_000): Promise<string> {
  await page
    .waitForFunction(
      ({ selector: s, source, flags }) => new RegExp(source, flags).test(document.querySelector(s)?.textContent ?? ""),
      { selector, source: pattern.source, flags: pattern.flags },
      { timeout, polling: 100 },
    )
    .catch(async (error: unknown) => {
      const now = await page.textContent(selector).catch(() => "nothing");
      const problem = (await page.$$eval(".notice.bad", (boxes) => boxes.map((b) => b.textContent))).join(" | ");
      throw new Error(`${selector} should say ${pattern}, but says ${JSON.stringify(now)}; problems: ${problem || "none"}`, {
        cause: error,
      });
    });
  return (await page.textContent(selector))!;
}

/** What a download link of the page gives when it is clicked. */
export async function linkBytes(page: Page, selector: string): Promise<Uint8Array<ArrayBuffer>> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
  return new Uint8Array(readFileSync(await download.path()));
}

export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.textContent(selector)) ?? "";
}

export async function linkText(page: Page, selector: string): Promise<string> {
  return new TextDecoder().decode(await linkBytes(page, selector));
}

/** Drops a file on an element, as a hand would. */
export async function dropFile(page: Page, selector: string, name: string, bytes: Uint8Array): Promise<void> {
  const transfer = await page.evaluateHandle(({ fileName, list }) => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(list)], fileName));
    return data;
  }, { fileName: name, list: [...bytes] });
  await page.dispatchEvent(selector, "drop", { dataTransfer: transfer });
}
