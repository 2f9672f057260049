import { UsageError } from "../../engine/runtime/errors.ts";
import { blobSource, readAll } from "../../engine/formats/byte-source.ts";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import type { RgbImage } from "../../engine/formats/picture/image.ts";
import type { PictureFile } from "../../engine/metrics/quality/kinds.ts";
import { decodePicture } from "../../engine/platform/picture/decode-picture.ts";
import type { RecipeName } from "../../engine/metrics/recipes.ts";
import type { NamedFile, QualityRequest, Scores } from "../protocol.ts";
import type { Library } from "./files/library.ts";
import type { Job } from "./job.ts";
import type { Session } from "./session.ts";

/** The real pictures that come with the page. */
const BUNDLED_REAL = "emoji/quality/real/";

/**
 * Scores pictures against real ones: the code that does is read when the first are.
 * @throws UsageError for too few pictures; FormatError for one that cannot be read, or another network's weights
 */
export async function score(session: Session, library: Library, request: QualityRequest, job: Job<"quality">): Promise<Scores> {
  const started = performance.now();
  const { openFeatureNetwork, quality } = await import("../../engine/metrics/index.ts");
  const { images, real, network: chosen } = request;
  job.news({ text: "loading the network" });
  const device = await session.device();
  const { recipe } = request;
  const source = "classifier" in chosen
    ? { files: library.files, path: chosen.classifier }
    : { files: memoryFiles({ [chosen.name]: chosen.file }), path: chosen.name };
  const network = await openFeatureNetwork(device, source, { recipe: recipe as RecipeName, dims: 2048 });
  try {
    const result = await quality(
      null,
      {
        images: filesOf(images),
        real: real === "bundled" ? bundledReal(library) : filesOf(real),
        network,
        recipe: recipe as RecipeName,
        signal: job.signal,
      },
      (event) => {
        if (event.type === "picture") {
          const { set, done, total } = event;
          job.news({ text: `${set === "real" ? "real" : "your"} pictures: ${done} of ${total}`, done: done / total });
        } else if (event.type === "score") {
          const { what, done, total } = event;
          job.news({ text: `${what}: ${done} of ${total}`, done: done / total });
        }
      },
    );
    const { distanceName, name: features } = network;
    const { distances, count, realCount } = result;
    return { distanceName, features, distances: distances!, count, realCount: realCount!, seconds: (performance.now() - started) / 1000 };
  } finally {
    await network.destroy();
  }
}

function filesOf(files: readonly NamedFile[]): PictureFile[] {
  if (files.length < 2) throw new UsageError(`at least two pictures of each kind are needed, there are ${files.length}`);
  return files.map(({ name, file }) => ({ name, read: async () => decode(name, await readAll(blobSource(name, file))) }));
}

/** As it lies in its file, whatever EXIF says: the field's tools do not turn pictures. */
function decode(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<RgbImage> {
  return decodePicture(name, bytes, { turned: false });
}

function bundledReal(library: Library): PictureFile[] {
  return library.bundled.below(BUNDLED_REAL).map((name) => ({
    name,
    async read() {
      const source = await library.files.open(name);
      try {
        return await decode(name, await readAll(source));
      } finally {
        await source.close();
      }
    },
  }));
}
