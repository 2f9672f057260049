import type { PromptPainter } from "../../engine/attack/options.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import { InputError, LetheError, errorMessage } from "../../engine/runtime/errors.ts";

const PATH = "/images/generations";
/** Of the refusals of an endpoint's own filter, which say something of the prompt and not of the request. */
const FILTERED = /content_policy|moderation|safety/i;
/** Answers after which the same request may do. */
const BUSY = [429, 502, 503];
const [TRIES, WAIT_MS] = [4, 1000] as const;

interface Answer {
  readonly data?: readonly { readonly b64_json?: string; readonly url?: string }[];
  readonly error?: { readonly message?: string; readonly param?: string | null; readonly code?: string | null };
}

/**
 * Draws by an image endpoint in the OpenAI form (https://platform.openai.com/docs/api-reference/images/create): a picture comes back, and
 * nothing else is known of the model. `seed`, `steps` and `guidance_scale` are Lethe's and other local servers' own; whatever an endpoint
 * says it does not know is left out from then on. Where its filter refuses a prompt, the picture is black, as diffusers' safety checker
 * makes it.
 * @param url of the API (http://localhost:8421/v1) or of its images, with query if the endpoint wants one
 * @param key sent as a bearer token, where one is needed
 * @param say told what the endpoint does not take, and what it refused
 * @returns a painter, which throws InputError for an endpoint that cannot be reached or does not draw, LetheError for one that fails
 */
export function endpointPainter(url: string, key: string | undefined, say: (line: string) => void): PromptPainter {
  const address = new URL(url);
  if (!address.pathname.endsWith(PATH)) address.pathname = address.pathname.replace(/\/*$/, PATH);
  const headers = { "content-type": "application/json", ...(key !== undefined && { authorization: `Bearer ${key}` }) };
  const unknown = new Set<string>();

  const ask = async (body: object, signal: AbortSignal | undefined): Promise<Response> => {
    for (let tries = 1; ; tries++) {
      const response = await get(address, { method: "POST", headers, body: JSON.stringify(body), ...(signal && { signal }) });
      if (!BUSY.includes(response.status) || tries === TRIES) return response;
      say(`${address.href} is busy (status ${response.status}): asked again`);
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS * 2 ** tries));
      signal?.throwIfAborted();
    }
  };

  return async (prompt, { seed, steps, guidance, signal }) => {
    const wishes = Object.entries({ response_format: "b64_json", seed, steps, guidance_scale: guidance });
    for (;;) {
      const wanted = Object.fromEntries(wishes.filter(([name]) => !unknown.has(name)));
      const response = await ask({ prompt, n: 1, ...wanted }, signal);
      const { data, error } = await answerOf(address, response);
      const picture = data?.[0];
      if (response.ok && picture?.b64_json !== undefined) return decodePicture(address.href, Buffer.from(picture.b64_json, "base64"));
      if (response.ok && picture?.url !== undefined) return download(new URL(picture.url, address), signal);
      const { message = "it sent no picture", param, code } = error ?? {};
      if (response.status === 400 && typeof param === "string" && param in wanted) {
        unknown.add(param);
        say(`${address.href} does not take ${param}${param === "seed" ? ": its pictures cannot be drawn again" : ""}`);
      } else if (response.status === 400 && FILTERED.test(code ?? "")) {
        say(`${address.href} refused ${JSON.stringify(prompt)} (${code}): a black picture is judged`);
        return { data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 };
      } else {
        const Kind = response.status < 500 ? InputError : LetheError;
        throw new Kind(`${address.href}: status ${response.status}: ${message}`);
      }
    }
  };
}

async function get(address: URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(address, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message || String(error.cause) : errorMessage(error);
    throw new InputError(`${address.href}: cannot be reached: ${cause}; is the endpoint running?`, { cause: error });
  }
}

async function answerOf(address: URL, response: Response): Promise<Answer> {
  const text = await response.text();
  try {
    const answer = JSON.parse(text) as unknown;
    if (typeof answer === "object" && answer !== null) return answer;
  } catch {
    // said below
  }
  throw new InputError(
    `${address.href}: status ${response.status} with ${JSON.stringify(text.slice(0, 60))}: not an image endpoint in the OpenAI form`,
  );
}

async function download(address: URL, signal: AbortSignal | undefined): Promise<RgbImage> {
  const response = await get(address, signal ? { signal } : {});
  if (!response.ok) throw new LetheError(`${address.href}: status ${response.status} for a picture that was drawn`);
  return decodePicture(address.href, new Uint8Array(await response.arrayBuffer()));
}
