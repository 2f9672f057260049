import { type Command, Option } from "commander";
import type { Peak } from "../bench/rates.ts";
import { writeFileAtomic } from "../engine/platform/node-files.ts";
import type { Device } from "../engine/runtime/device.ts";
import { openDevice } from "../engine/platform/open-device.ts";
import { KERNEL_OPTIONS, type KernelOption } from "../engine/runtime/choice/kernel-table.ts";
import { NoAdapterError } from "../engine/runtime/errors.ts";
import { Profiler } from "../engine/runtime/profile/profiler.ts";
import type { MathMode } from "../kernels/gemm-table.ts";
import type { WeightPrecision } from "../engine/nn/weight-layout.ts";
import { traceEvents } from "../engine/runtime/profile/trace.ts";
import { EXIT } from "./errors.ts";
import { finiteNumber } from "./options.ts";
import { requireWritableFile } from "./output.ts";
import { profileTable } from "./tools/profile-table.ts";
import { type Progress, type ShownProgress, startProgress } from "./terminal/progress.ts";
import { link, widthOf, wrapped } from "./terminal/style.ts";
import { openFile } from "./terminal/open.ts";

/** The flags that every command takes. */
export interface GlobalOptions {
  readonly adapter?: string;
  readonly limits?: "default";
  readonly weights?: WeightPrecision;
  readonly math?: MathMode;
  readonly kernels?: KernelOption;
  readonly profile?: string;
  readonly bufferSharing: boolean;
  readonly robust?: boolean;
  /** GiB. */
  readonly memoryLimit?: number;
  readonly offload?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  /** Of commands that write a page. */
  readonly open?: boolean;
}

/** The global flags that decide what a device computes, for a command line that does the same again. */
export function globalFlags({ limits, weights, math, kernels, bufferSharing, robust, adapter }: GlobalOptions): string[] {
  return [
    ...(limits ? ["--limits", limits] : []),
    ...(weights && weights !== "f32" ? ["--weights", weights] : []),
    ...(math && math !== "f32" ? ["--math", math] : []),
    ...(kernels && kernels !== "auto" && kernels !== "tune" ? ["--kernels", kernels] : []),
    ...(bufferSharing ? [] : ["--no-buffer-sharing"]),
    ...(robust ? ["--robust"] : []),
    ...(adapter === undefined ? [] : ["--adapter", adapter]),
  ];
}

export function addGlobalOptions(program: Command): void {
  program
    .option("--adapter <name>", "use the adapter whose description contains NAME")
    .addOption(new Option("--limits <which>", "create the device with WebGPU's default limits only").choices(["default"]))
    .addOption(
      new Option(
        "--weights <precision>",
        "how weights are stored on the device; f16 reads a folder's fp16 files where it has them (default: f32, or f16 for a model that " +
          "is larger than the memory limit; that is said)",
      ).choices(["f32", "f16"]),
    )
    .addOption(
      new Option(
        "--math <precision>",
        "operands of matrix products and tensors between ops: f16 rounds them to half precision, auto does where that was measured faster "
          + "(default: f32)",
      ).choices(["f32", "f16", "auto"]),
    )
    .addOption(
      new Option(
        "--kernels <which>",
        "variant of matrix products: what was measured on this adapter (auto), measured now (tune), what is shipped (default), or one " +
          "by name (default: auto)",
      ).choices(KERNEL_OPTIONS),
    )
    .option("--profile <file>", "write per-op times to FILE: JSON that chrome://tracing and Perfetto open")
    .option("--no-buffer-sharing", "give every intermediate tensor memory of its own, to isolate a bug")
    .option("--robust", "have the driver check every access of a shader, as browsers do; slower on GPUs")
    .option(
      "--memory-limit <GiB>",
      "stay within so much device memory: gradients that would take more are computed with more arithmetic, or refused (default: what " +
        "the host has free on a software adapter)",
      finiteNumber(0),
    )
    .option(
      "--offload",
      "keep weights that do not fit the device's memory in host memory and send them for each use; what that costs is said " +
        "(with --memory-limit on a GPU, whose memory is not known: without it all weights stay on the host)",
    )
    .option("--quiet", "no progress and prose on stderr")
    .option("--json", "print one JSON object on stdout and nothing else");
}

/** How often shaders that are being compiled are counted. */
const COMPILING_MS = 200;

/** What a command works with: its outputs, the device, and being interrupted. */
export class Context {
  private opened: Promise<Device> | undefined;
  private profiler: Profiler | undefined;
  /** The adapter's measured peaks, if a command measured them: the profile's table then says how near each kernel came. */
  peak: Peak | undefined;
  private progress: Progress | undefined;
  private interrupt: { readonly controller: AbortController; readonly handler: () => void } | undefined;

  constructor(private given: GlobalOptions) {}

  /** The global flags, with what was decided for those that were not given. */
  get options(): GlobalOptions {
    return this.given;
  }

  /** Decides how weights are stored, where --weights was not given. */
  decideWeights(weights: WeightPrecision): void {
    this.given = { ...this.given, weights };
  }

  /** A line of prose on stderr. */
  say(line: string): void {
    if (this.options.quiet) return;
    if (this.progress) this.progress.say(line);
    else process.stderr.write(`${wrapped(line, widthOf(process.stderr))}\n`);
  }

  /** Names a page that was written, as a link on a terminal, and opens it if --open says so. */
  report(file: string, what = "report"): void {
    this.say(`${what}: ${link(file, process.stderr)}`);
    if (this.options.open) openFile(file, (problem) => this.say(problem));
  }

  /** What was warned of, in order: --json and run.json have it too. */
  readonly warnings: string[] = [];

  /** A line of prose on stderr that also goes into the command's records. */
  warn(warning: string): void {
    if (!this.warnings.includes(warning)) this.say(`warning: ${warning}`);
    this.warnings.push(warning);
  }

  /** The command's result on stdout: the text, or with --json the object as the only line, with the warnings if there are any. */
  result(json: object, text: string): void {
    const whole = this.warnings.length > 0 ? { ...json, warnings: [...new Set(this.warnings)] } : json;
    if (this.options.json) process.stdout.write(`${JSON.stringify(whole)}\n`);
    else if (text !== "") process.stdout.write(`${wrapped(text, widthOf(process.stdout))}\n`);
  }

  /** Runs `work` with a progress display that is taken away at the end. */
  async withProgress<T>(title: string, work: (progress: Progress) => Promise<T>): Promise<T> {
    const progress = startProgress(title, this.options.quiet ?? false);
    this.progress = progress;
    const stopWatching = this.watchCompiling(progress);
    try {
      return await work(progress);
    } finally {
      stopWatching();
      this.progress = undefined;
      progress.stop();
    }
  }

  /** Tells a progress display of the shaders that are compiled meanwhile. @returns ends it */
  private watchCompiling(progress: ShownProgress): () => void {
    let pipelines: Device["pipelines"] | undefined;
    const watch = (): void => {
      if (pipelines) progress.compiling(pipelines.compiled, pipelines.size);
      else {
        const opened = (device: Device): void => {
          ({ pipelines } = device);
          progress.compiling(pipelines.compiled, pipelines.size);
        };
        void this.opened?.then(opened, () => undefined);
      }
    };
    watch();
    const timer = setInterval(watch, COMPILING_MS);
    timer.unref();
    return () => clearInterval(timer);
  }

  /** The device, opened at the first call as the global flags say. @throws NoAdapterError */
  device(): Promise<Device> {
    this.opened ??= this.openDevice();
    return this.opened;
  }

  /** The device's description if one was opened. */
  async openedDescription(): Promise<string | undefined> {
    return (await this.opened?.catch(() => undefined))?.description;
  }

  private async openDevice(): Promise<Device> {
    const { adapter, limits, math, kernels, bufferSharing, robust, profile, memoryLimit } = this.options;
    if (profile !== undefined) await requireWritableFile(profile);
    const device = await openDevice({
      bufferSharing,
      ...(robust && { robust }),
      ...(adapter !== undefined && { adapter }),
      ...(limits && { limits }),
      ...(math && { math }),
      ...(kernels && { kernels }),
      say: (line) => this.say(line),
      ...(memoryLimit !== undefined && { memoryLimit: memoryLimit * 2 ** 30 }),
    });
    if (profile !== undefined) {
      if (!device.features.includes("timestamp-query")) {
        throw new NoAdapterError(`--profile: adapter "${device.description}" offers no timestamps, so there are no per-op times`);
      }
      this.profiler = new Profiler(device).start();
    }
    return device;
  }

  /** Aborted by the first Ctrl-C, so that the work under way can be finished and noted down; a second one ends the process at once. */
  get signal(): AbortSignal {
    if (!this.interrupt) {
      const controller = new AbortController();
      const handler = (): void => {
        if (controller.signal.aborted) process.exit(EXIT.interrupted);
        this.say("interrupted: finishing the step under way (press Ctrl-C again to quit at once)");
        controller.abort();
      };
      process.on("SIGINT", handler);
      process.on("SIGTERM", handler);
      this.interrupt = { controller, handler };
    }
    return this.interrupt.controller.signal;
  }

  /**
   * One file for people, programs and chrome://tracing or Perfetto, which take "traceEvents" and leave the rest alone; and a table of
   * kernels on stderr.
   */
  private async writeProfile(file: string, adapter: string, report: Awaited<ReturnType<Profiler["report"]>>): Promise<void> {
    await writeFileAtomic(file, `${JSON.stringify({ adapter, ...report, traceEvents: traceEvents(adapter, report.programs) }, null, 1)}\n`);
    this.say(`${profileTable(report.kernels, this.peak)}\nper-op times are in ${file}, which chrome://tracing and Perfetto open`);
  }

  /** Writes the profile and frees the device. */
  async close(): Promise<void> {
    if (this.interrupt) for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, this.interrupt.handler);
    const device = await this.opened?.catch(() => undefined);
    if (!device) return;
    try {
      const report = await this.profiler?.report();
      if (report && this.options.profile !== undefined) await this.writeProfile(this.options.profile, device.description, report);
    } finally {
      device.destroy();
    }
  }
}

/** A commander action: runs `work` in a context of its own and keeps its exit code (0 if it returns none). */
export function action<O>(
  work: (options: O & GlobalOptions, context: Context, ...args: string[]) => Promise<number | void>,
): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.at(-1) as Command;
    const args = all.slice(0, -2) as string[];
    const options = command.optsWithGlobals<O & GlobalOptions>();
    const context = new Context(options);
    try {
      process.exitCode = (await work(options, context, ...args)) ?? EXIT.done;
    } finally {
      await context.close();
    }
  };
}
