import type { AnyRunRecord } from "./record.ts";

/** What is not as it was when a run that is gone on with began, a sentence each. */
export function changesSince(before: AnyRunRecord, now: AnyRunRecord): string[] {
  const [then, here] = [before.device.adapter, now.device.adapter];
  const hashes = new Map(before.files.map((file) => [`${file.role} ${file.path}`, file.sha256]));
  const changed = now.files.filter(({ role, path, sha256 }) => (hashes.get(`${role} ${path}`) ?? sha256) !== sha256);
  return [
    ...(then === here ? [] : [`the run was begun on ${then} and goes on on ${here}: rounding differs between the two`]),
    ...changed.map(({ path }) => `${path} has changed since the run was begun`),
  ];
}
