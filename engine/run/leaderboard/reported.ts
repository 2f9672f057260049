/** A number that somebody published, as a row of the leaderboard shows it. */
export interface Reported {
  /** As the source has it: "60%" or "83.3% (10/12)". */
  readonly value: string;
  /** Of what: "ESD, SD 1.4". */
  readonly of: string;
  /** For a FID: what it is of, as "t2ibenchmark 2048". A FID of other features is another number. Without it: a success rate. */
  readonly features?: string;
  readonly source: Source;
}

/** Where a number was published, and what it measures. */
export interface Source {
  readonly title: string;
  readonly url: string;
  readonly measures: string;
}

/** What may stand beside a row: success rates, and FIDs of the features that its own FID is of. */
export function comparable(reported: readonly Reported[], features: string | null | undefined): Reported[] {
  return reported.filter((r) => r.features === undefined || r.features === features);
}

/** The sources of some rows' published numbers, each once; a number's footnote is its source's place here, from 1. */
export function sourcesOf(rows: readonly { readonly reported: readonly Reported[] }[]): Source[] {
  const byUrl = new Map(rows.flatMap(({ reported }) => reported).map(({ source }) => [source.url, source]));
  return [...byUrl.values()];
}

/** "83.3% (10/12) (ESD, SD 1.4) [1], 60% (ESD, SD 1.4) [2]"; empty if nothing is known. */
export function reportedText(reported: readonly Reported[], sources: readonly Source[]): string {
  return reported
    .map(({ value, of, source }) => `${value} (${of}) [${sources.findIndex((s) => s.url === source.url) + 1}]`)
    .join(", ");
}
