/**
 * Requests for pictures in the form of OpenAI's images API (POST /v1/images/generations), as its own clients, PyRIT and promptfoo send
 * them. Source: https://platform.openai.com/docs/api-reference/images/create
 */

/** A request that is refused, in the API's own form. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    message: string,
    readonly param: string | null = null,
    readonly code: string | null = null,
  ) {
    super(message);
  }

  get body(): object {
    const type = this.status >= 500 ? "server_error" : "invalid_request_error";
    return { error: { message: this.message, type, param: this.param, code: this.code } };
  }
}

export interface ImageRequest {
  readonly prompt: string;
  readonly count: number;
  readonly format: "b64_json" | "url";
  /** As it was asked for; undefined: as the server likes. The server draws at its own size and says which. */
  readonly size: string | undefined;
  /** Lethe's own, beyond the API. */
  readonly seed: number | undefined;
  readonly negativePrompt: string | undefined;
  readonly steps: number | undefined;
  readonly guidance: number | undefined;
}

/** Fields of the API that change nothing here, so that any client's defaults are taken. */
const WITHOUT_EFFECT = ["model", "quality", "style", "user", "moderation", "output_compression", "partial_images", "input_fidelity"];
const MAX_PICTURES = 10;
/** As long as the API takes; the model reads the first 75 tokens. */
const MAX_PROMPT = 32_000;

/**
 * The body of a request, checked.
 * @throws ApiError 400 naming the field, for anything that cannot be done and any field that is not known: nothing is overlooked
 */
export function parseImageRequest(text: string): ImageRequest {
  const body = parseObject(text);
  const fields = new Fields(body);
  const request: ImageRequest = {
    prompt: fields.text("prompt", MAX_PROMPT) ?? refuse("prompt", "is required"),
    count: fields.whole("n", 1, MAX_PICTURES) ?? 1,
    format: fields.choice("response_format", ["b64_json", "url"]) ?? "b64_json",
    size: fields.size("size"),
    seed: fields.whole("seed", -(2 ** 31), Number.MAX_SAFE_INTEGER),
    negativePrompt: fields.text("negative_prompt", MAX_PROMPT),
    steps: fields.whole("steps", 1, 1000),
    guidance: fields.number("guidance_scale", 0, 1000),
  };
  fields.choice("output_format", ["png"]);
  fields.choice("background", ["auto", "opaque"]);
  if (fields.take("stream") === true) refuse("stream", "is not supported: pictures come whole");
  for (const name of WITHOUT_EFFECT) fields.take(name);
  const [unknown] = fields.left();
  if (unknown !== undefined) throw new ApiError(400, `Unknown parameter: '${unknown}'.`, unknown, "unknown_parameter");
  return request;
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new ApiError(400, "The body of the request is not a JSON object.");
}

function refuse(name: string, why: string): never {
  throw new ApiError(400, `Invalid value for '${name}': it ${why}.`, name, "invalid_value");
}

/** Takes fields out of a body one by one; null counts as absent, as for the API. */
class Fields {
  private readonly rest: Map<string, unknown>;

  constructor(body: Record<string, unknown>) {
    this.rest = new Map(Object.entries(body));
  }

  take(name: string): unknown {
    const value = this.rest.get(name) ?? undefined;
    this.rest.delete(name);
    return value;
  }

  left(): string[] {
    return [...this.rest.keys()];
  }

  text(name: string, most: number): string | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    if (typeof value !== "string" || value.trim() === "") return refuse(name, "must be a text that is not empty");
    return value.length > most ? refuse(name, `is longer than ${most} characters`) : value;
  }

  number(name: string, min: number, max: number): number | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !(value >= min && value <= max)) return refuse(name, `must be a number from ${min} to ${max}`);
    return value;
  }

  whole(name: string, min: number, max: number): number | undefined {
    const value = this.number(name, min, max);
    return value === undefined || Number.isInteger(value) ? value : refuse(name, "must be a whole number");
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.take(name);
    if (value === undefined) return undefined;
    return choices.find((c) => c === value) ?? refuse(name, `must be ${choices.map((c) => `'${c}'`).join(" or ")}`);
  }

  size(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined || value === "auto") return undefined;
    return typeof value === "string" && /^\d{1,5}x\d{1,5}$/.test(value) ? value : refuse(name, "must be 'auto' or WIDTHxHEIGHT");
  }
}
