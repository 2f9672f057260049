/** NumPy's archives, read as numpy 2.4 wrote them (savez_compressed; savez with float32 and column-major order) and written again. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { memoryFiles } from "../../engine/formats/file-system.ts";
import { readNpy, writeNpy } from "../../engine/formats/numpy/npy.ts";
import { writeNpz } from "../../engine/formats/numpy/npz.ts";
import { readStatistics, writeStatistics } from "../../engine/metrics/distance/statistics-file.ts";

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const DEFLATED = bytesOf(
  "UEsDBC0AAAAIAAAAIQAtmf+T//////////8GABQAbXUubnB5AQAQAJgAAAAAAAAAUQAAAAAAAACb7BfqGxDJyFDGUK2eklqcXKRupaBuk2ahrqOgnpZfVFKUmBefX5SSCh" +
    "J3S8wpTgWKF2ckFqQC+RrGOpo6CrUKFAAuBjD4YQ+hmQ6EgsFVewBQSwMELQAAAAgAAAAhAPG7Xer//////////wkAFABzaWdtYS5ucHkBABAAyAAAAAAAAABhAAAAAAAA" +
    "AJvsF+obEMnIUMZQrZ6SWpxcpG6loG6TZqGuo6Cell9UUpSYF59flJIKEndLzClOBYoXZyQWpAL5GsY6CsaaOgq1CmQDLgYomKTiCUSP7CH0J3t0/p1tube35f7GwWdyAA" +
    "BQSwECLQMtAAAACAAAACEALZn/k1EAAACYAAAABgAAAAAAAAAAAAAAgAEAAAAAbXUubnB5UEsBAi0DLQAAAAgAAAAhAPG7XephAAAAyAAAAAkAAAAAAAAAAAAAAIABiQAA" +
    "AHNpZ21hLm5weVBLBQYAAAAAAgACAGsAAAAlAQAAAAA=",
);
const COLUMN_MAJOR = bytesOf(
  "UEsDBC0AAAAAAAAAIQAxEmOg//////////8GABQAbXUubnB5AQAQAIwAAAAAAAAAjAAAAAAAAACTTlVNUFkBAHYAeydkZXNjcic6ICc8ZjQnLCAnZm9ydHJhbl9vcmRlci" +
    "c6IEZhbHNlLCAnc2hhcGUnOiAoMywpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgCgAAwD8AABDAq6qq" +
    "PlBLAwQtAAAAAAAAACEACvb1Bf//////////CQAUAHNpZ21hLm5weQEAEADIAAAAAAAAAMgAAAAAAAAAk05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3" +
    "JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMywgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAA" +
    "AJIkSZIkSeI/kiRJkiRJ8j9JkiRJkiT5P5IkSZIkSfI/3LZt27Zt+z9JkiRJkiQJQLdt27Zt2xJAkiRJkiRJAkBQSwECLQMtAAAAAAAAACEAMRJjoIwAAACMAAAABgAAAA" +
    "AAAAAAAAAAgAEAAAAAbXUubnB5UEsBAi0DLQAAAAAAAAAhAAr29QXIAAAAyAAAAAkAAAAAAAAAAAAAAIABxAAAAHNpZ21hLm5weVBLBQYAAAAAAgACAGsAAADHAQAAAAA=",
);
const read = (bytes: Uint8Array): ReturnType<typeof readStatistics> => readStatistics(memoryFiles({ "a.npz": bytes }), "a.npz");
const sigma = Array.from({ length: 9 }, (_, i) => i / 7 + (3 * (i % 3) + Math.floor(i / 3)) / 7);

test("compressed float64, and float32 with a column-major matrix", async () => {
  const plain = await read(DEFLATED);
  assert.equal([...plain.mean], [1.5, -2.25, 1 / 3]);
  assert.equal([...plain.covariance.data], sigma);
  const other = await read(COLUMN_MAJOR);
  assert.equal([...other.mean], [1.5, -2.25, Math.fround(1 / 3)]);
  const added = [0, 1, 2, 0, 0, 3, 0, 0, 0];
  assert.equal([...other.covariance.data], sigma.map((x, i) => x + added[i]!));
});

test("what is written is read again, and always the same bytes", async () => {
  const before = await read(DEFLATED);
  const bytes = await writeStatistics(before);
  const after = await read(bytes);
  assert.equal([...after.covariance.data], [...before.covariance.data]);
  assert.equal([...(await writeStatistics(after))], [...bytes]);
});

test("other files are refused, naming what is wrong", async () => {
  const refused = async (bytes: Uint8Array, why: RegExp): Promise<void> => {
    await read(bytes).then(
      () => assert.unreachable(String(why)),
      (error: unknown) => assert.match((error as Error).message, why),
    );
  };
  await refused(DEFLATED.subarray(0, 300), /zip archive has no directory/);
  const damaged = DEFLATED.slice();
  damaged.fill(0xff, 60, 120);
  await refused(damaged, /mu.npy.*(damaged|unpacks)/);
  const apart = { mu: { data: new Float64Array(2), shape: [2] }, sigma: { data: new Float64Array(9), shape: [3, 3] } };
  await refused(await writeNpz(apart), /mu is \[2\] and sigma \[3, 3\]/);
  await refused(await writeNpz({ mu: apart.mu }), /has no array "sigma"; it has "mu"/);
  const npy = writeNpy(Float64Array.of(1, 2), [2]);
  assert.throws(() => readNpy("x.npy", npy.slice(0, -1)), /its shape \[2\] needs 16/);
  const text = new TextDecoder("latin1").decode(npy).replace("<f8", ">f8");
  assert.throws(() => readNpy("x.npy", Uint8Array.from(text, (c) => c.charCodeAt(0))), /of type ">f8"/);
});

test.run();
