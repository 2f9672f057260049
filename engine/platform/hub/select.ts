import { join } from "node:path";
import { readDiffusersFolder } from "../../formats/diffusers.ts";
import { quote } from "../../formats/errors.ts";
import { HubError } from "./error.ts";
import { COMPONENTS, MODEL_INDEX, onlyCheckpoint, shardsOf, unknownLayout, wantedFiles } from "./files.ts";
import { nodeFiles, readJson } from "../node-files.ts";

/** Files of a repository that are wanted: those that name others, and the others. */
export interface Selection {
  readonly small: readonly string[];
  readonly weights: readonly string[];
}

/** A repository, or a folder in one. */
interface Repository {
  /** For errors. */
  readonly id: string;
  readonly revision: string;
  /** Where `get` puts its files. */
  readonly snapshot: string;
  readonly names: ReadonlySet<string>;
  readonly get: (files: readonly string[]) => Promise<void>;
}

/** Which files are asked for. */
export interface SelectOptions {
  /** Preferred kind of weight files, e.g. "fp16"; components that have none of it get their plain file. */
  readonly variant?: string | undefined;
  /** Parts of a pipeline to fetch; default: all that loading can use. */
  readonly components?: readonly string[] | undefined;
  /** False: configurations and tokenizer only. */
  readonly weights?: boolean | undefined;
  /** A folder in the repository that holds the model. Default: its top. */
  readonly subfolder?: string | undefined;
  /** Exactly these files instead of those a model needs. */
  readonly files?: readonly string[] | undefined;
}

/**
 * Decides which files are wanted; `get` provides the small ones among them, which name the rest.
 * @throws HubError for a file or folder that is not there, or a repository that holds no model; what `get` throws
 */
export async function selectFiles(repository: Repository, options: SelectOptions): Promise<Selection> {
  const { subfolder } = options;
  if (subfolder === undefined) return selectIn(repository, options);
  const { id, revision, snapshot } = repository;
  const prefix = `${subfolder}/`;
  const names = new Set([...repository.names].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)));
  if (names.size === 0) throw new HubError("not-found", `${id}: has no folder ${quote(subfolder)} at revision ${quote(revision)}`);
  const whole = (files: readonly string[]): string[] => files.map((name) => prefix + name);
  const folder = {
    id: `${id}/${subfolder}`,
    revision,
    snapshot: join(snapshot, ...subfolder.split("/")),
    names,
    get: (files: readonly string[]) => repository.get(whole(files)),
  };
  const { small, weights } = await selectIn(folder, options);
  return { small: whole(small), weights: whole(weights) };
}

/** The same where the model lies at the top. */
async function selectIn({ id, revision, snapshot, names, get }: Repository, options: SelectOptions): Promise<Selection> {
  if (options.files) {
    const missing = options.files.filter((file) => !names.has(file));
    if (missing.length > 0) {
      throw new HubError("not-found", `${id}: has no file ${missing.map(quote).join(", ")} at revision ${quote(revision)}`);
    }
    return { small: [], weights: options.files };
  }
  let components: string[] | undefined;
  if (names.has(MODEL_INDEX)) {
    await get([MODEL_INDEX]);
    const index = await readDiffusersFolder(nodeFiles, snapshot);
    components = (options.components ?? COMPONENTS).filter((name) => index.components.has(name));
  } else if (!names.has("config.json")) {
    const only = onlyCheckpoint(names);
    if (only === undefined) throw unknownLayout(id, names);
    const settings = [...names].filter((name) => /^[^/]+\.json$/.test(name)); // such as an eraser's
    await get(settings);
    return { small: settings, weights: [only] };
  }
  const wanted = await wantedFiles(id, names, components, options.weights === false ? "none" : { variant: options.variant });
  await get(wanted.small);
  const shards: string[] = [];
  for (const index of wanted.indexes) shards.push(...shardsOf(id, index, await readJson(join(snapshot, index)), names));
  return { small: [...(components ? [MODEL_INDEX] : []), ...wanted.small], weights: [...wanted.weights, ...shards] };
}
