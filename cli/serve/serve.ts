import { type Command, Option } from "commander";
import { cutOffNote } from "../../engine/diffusion/learned-embedding.ts";
import { generate, generateSettings } from "../../engine/diffusion/generate.ts";
import { SCHEDULER_NAMES, type SchedulerName } from "../../engine/diffusion/schedulers/index.ts";
import type { StableDiffusion } from "../../engine/diffusion/stable-diffusion.ts";
import { encodePng } from "../../engine/platform/picture/png-codec.ts";
import type { ModelOptions } from "../../engine/run/settings/model-options.ts";
import { formatDuration, quoted } from "../../engine/run/text/format.ts";
import { pngTexts } from "../../engine/run/text/png-texts.ts";
import { errorMessage } from "../../engine/runtime/errors.ts";
import { type Context, action } from "../context.ts";
import { EXIT, exitCodeOf } from "../errors.ts";
import { addNotes } from "../help/format.ts";
import { PATHS_NOTE, addModelOptions, openModel, originOf } from "../model.ts";
import { finiteNumber, seedNumber, wholeNumber } from "../options.ts";
import { listenLocally, requireFreePort, untilInterrupted } from "./listen.ts";
import { ApiError, type ImageRequest } from "./request.ts";
import { type ServedPicture, createImageServer } from "./server.ts";

interface ServeFlags extends ModelOptions {
  readonly port: number;
  readonly steps: number;
  readonly scheduler?: SchedulerName;
  readonly guidance: number;
  readonly seed: number;
  readonly width?: number;
  readonly height?: number;
}

export function serveCommand(program: Command): void {
  const command = program
    .command("serve")
    .description("an image endpoint in the OpenAI form on this machine, for red-team tools: POST /v1/images/generations");
  addNotes(command, PATHS_NOTE);
  addModelOptions(command)
    .option("--port <n>", "port on the loopback address; 0: any free one", wholeNumber(0, 65535), 8421)
    .option("--steps <n>", "sampling steps, where a request names none", wholeNumber(1, 1000), 50)
    .addOption(new Option("--scheduler <name>", "sampler (default: the model's own)").choices(SCHEDULER_NAMES))
    .option("--guidance <scale>", "classifier-free guidance, where a request names none", finiteNumber(0), 7.5)
    .option("--seed <n>", "seed of the first picture; the others count up, unless a request names one", seedNumber, 0)
    .option("--width <pixels>", "default: the model's own size; the size in a request changes nothing", wholeNumber(1, 16_384))
    .option("--height <pixels>", "default: the model's own size", wholeNumber(1, 16_384))
    .action(action<ServeFlags>((flags, context) => run(flags, context)));
}

async function run(flags: ServeFlags, context: Context): Promise<void> {
  const { signal } = context;
  await requireFreePort(flags.port);
  const model = await openModel(context, flags);
  const { width, height } = generateSettings(model, { ...flags, prompt: "" });
  const size = `${width}x${height}`;
  const name = flags.unet ?? flags.textEncoder ?? flags.lora ?? flags.model;
  const painter = new RequestPainter(context, model, flags, size);
  const server = createImageServer({
    model: name,
    size,
    draw: (request, gone) => painter.draw(request, AbortSignal.any([signal, gone])).catch(asRefusal),
    failed: (error) => context.say(`a request failed: ${errorMessage(error)}`),
  });
  const url = `${await listenLocally(server, flags.port)}v1`;
  context.say(`serving ${name} at ${size} to this machine only, on ${model.device.description}; stop with Ctrl-C`);
  context.result({ url, model: name, size }, url);
  await untilInterrupted(server, signal);
  await model.destroy();
}

/** What the engine says of a request's numbers is the client's to mend. @throws ApiError, or the error itself */
function asRefusal(error: unknown): never {
  throw exitCodeOf(error) === EXIT.badInput ? new ApiError(400, errorMessage(error)) : error;
}

/** Draws what requests ask for, and says each in a line. */
class RequestPainter {
  private next: number;
  private toldSize = false;

  constructor(
    private readonly context: Context,
    private readonly model: StableDiffusion,
    private readonly flags: ServeFlags,
    private readonly size: string,
  ) {
    this.next = flags.seed;
  }

  async draw({ prompt, count, size, negativePrompt, ...request }: ImageRequest, signal: AbortSignal): Promise<readonly ServedPicture[]> {
    const { context, model, flags } = this;
    if (size !== undefined && size !== this.size && !this.toldSize) {
      this.toldSize = true;
      context.say(`a client asked for ${size}: pictures are ${this.size}, and the answers say so`);
    }
    const note = cutOffNote(model, prompt);
    if (note !== undefined) context.say(`warning: ${note}`);
    const started = performance.now();
    const seed = request.seed ?? this.next;
    if (request.seed === undefined) this.next += count;
    const { width, height, scheduler } = flags;
    const { steps = flags.steps, guidance = flags.guidance } = request;
    const options = { prompt, negativePrompt, count, seed, steps, guidance, scheduler, width, height };
    const settings = generateSettings(model, options);
    const drawn = await generate(model, { ...options, signal });
    const seeds = count === 1 ? `seed ${seed}` : `seeds ${seed} to ${seed + count - 1}`;
    context.say(`${quoted(prompt)}, ${seeds}: ${formatDuration((performance.now() - started) / 1000)}`);
    const origin = originOf(context, model, flags);
    return drawn.map(({ seed: own, image }) => ({ seed: own, png: encodePng(image, { ...pngTexts(settings, own, origin) }) }));
  }
}
