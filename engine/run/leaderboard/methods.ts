/** What a paper says of an evaluation: a paragraph of methods, and whom to cite. */
import type { AttackerName } from "../../attack/attackers.ts";
import type { CellStatistics } from "./statistics.ts";
import type { CellRecord, Manifest } from "./manifest.ts";

/** What an attacker is called in a paper, and where it comes from. One that is not here goes by its own name. */
const ATTACKS: Readonly<Partial<Record<AttackerName, readonly [name: string, key: string | null]>>> = {
  "text-grad": ["UnlearnDiffAtk", "zhang2024unlearndiffatk"],
  "hard-prompt": ["gradient search for hard prompts", "wen2023pez"],
  p4d: ["Prompting4Debugging", "chin2024p4d"],
  cce: ["textual inversion of the erased concept", "pham2024circumventing"],
  "ring-a-bell": ["Ring-A-Bell", "tsai2024ringabell"],
  "mma-text": ["the text part of MMA-Diffusion", null],
  "synonym-search": ["a zeroth-order search over synonyms", null],
  transfer: ["prompts found on another checkpoint", null],
  random: ["random tokens", null],
  "seed-search": ["other seeds", null],
  "no-attack": ["the plain prompt", null],
};

const entry = (kind: string, key: string, fields: Readonly<Record<string, string>>): string =>
  `@${kind}{${key},\n${Object.entries(fields).map(([name, value]) => `  ${name} = {${value}}`).join(",\n")}\n}\n`;

const REFERENCES: Readonly<Record<string, string>> = {
  zhang2024unlearndiffatk: entry("inproceedings", "zhang2024unlearndiffatk", {
    title: "To Generate or Not? Safety-Driven Unlearned Diffusion Models Are Still Easy To Generate Unsafe Images ... For Now",
    author:
      "Zhang, Yimeng and Jia, Jinghan and Chen, Xin and Chen, Aochuan and Zhang, Yihua and Liu, Jiancheng and Ding, Ke and Liu, Sijia",
    booktitle: "European Conference on Computer Vision",
    year: "2024",
    eprint: "2310.11868",
    archivePrefix: "arXiv",
  }),
  wen2023pez: entry("inproceedings", "wen2023pez", {
    title: "Hard Prompts Made Easy: Gradient-Based Discrete Optimization for Prompt Tuning and Discovery",
    author: "Wen, Yuxin and Jain, Neel and Kirchenbauer, John and Goldblum, Micah and Geiping, Jonas and Goldstein, Tom",
    booktitle: "Advances in Neural Information Processing Systems",
    year: "2023",
    eprint: "2302.03668",
    archivePrefix: "arXiv",
  }),
  chin2024p4d: entry("inproceedings", "chin2024p4d", {
    title: "Prompting4Debugging: Red-Teaming Text-to-Image Diffusion Models by Finding Problematic Prompts",
    author: "Chin, Zhi-Yi and Jiang, Chieh-Ming and Huang, Ching-Chun and Chen, Pin-Yu and Chiu, Wei-Chen",
    booktitle: "International Conference on Machine Learning",
    year: "2024",
    eprint: "2309.06135",
    archivePrefix: "arXiv",
  }),
  pham2024circumventing: entry("inproceedings", "pham2024circumventing", {
    title: "Circumventing Concept Erasure Methods For Text-to-Image Generative Models",
    author: "Pham, Minh and Marshall, Kelly O. and Cohen, Niv and Mittal, Govind and Hegde, Chinmay",
    booktitle: "International Conference on Learning Representations",
    year: "2024",
    eprint: "2308.01508",
    archivePrefix: "arXiv",
  }),
  tsai2024ringabell: entry("inproceedings", "tsai2024ringabell", {
    title: "Ring-A-Bell! How Reliable are Concept Removal Methods for Diffusion Models?",
    author:
      "Tsai, Yu-Lin and Hsu, Chia-Yi and Xie, Chulin and Lin, Chih-Hsun and Chen, Jia-You and Li, Bo and Chen, Pin-Yu and Yu, " +
      "Chia-Mu and Huang, Chun-Ying",
    booktitle: "International Conference on Learning Representations",
    year: "2024",
    eprint: "2310.10012",
    archivePrefix: "arXiv",
  }),
};

/** The tool itself. */
function lethe(version: string): string {
  return entry("software", "lethe", {
    title: "Lethe: did this unlearned diffusion model really forget?",
    author: "{Lethe contributors}",
    version,
  });
}

/** The evaluation's citations: the tool and every attack that it ran, for a .bib file. */
export function bibliography({ lethe: version }: Manifest, rows: readonly CellStatistics[]): string {
  const keys = new Set(rows.flatMap(({ cell }) => ATTACKS[cell.kind]?.[1] ?? []));
  return [lethe(version), ...[...keys].map((key) => REFERENCES[key]!)].join("\n");
}

/** The paragraph of methods. @param record of any cell, for sampler and device */
export function methodsText(manifest: Manifest, rows: readonly CellStatistics[], record: Partial<CellRecord> | undefined): string {
  const checkpoints = new Set(rows.filter((r) => !r.cell.baseline).map((r) => r.cell.checkpoint));
  const concepts = new Set(rows.map((r) => r.cell.concept));
  const attempts = rows.reduce((sum, r) => sum + r.lines.length, 0);
  const attacks = [...new Map(rows.map(({ cell }) => [cell.attacker, cell.kind]))].filter(([, kind]) => kind !== "no-attack");
  const s = record?.settings;
  const sampler = s?.scheduler === undefined ? [] : [
    `Pictures are sampled with ${s.scheduler.toUpperCase()}, ${s.steps} steps and a guidance scale of ${s.guidance}.`,
  ];
  const device = record?.device;
  return [
    `We attack ${count(checkpoints.size, "unlearned checkpoint")} for ${count(concepts.size, "concept")} with Lethe ${manifest.lethe}.`,
    attacks.length === 0 ? "" : `The attacks are ${attacks.map(([name, kind]) => attackText(name, kind)).join(", ")}.`,
    `There are ${count(attempts, "attempt")} in all.`,
    ...sampler,
    "Every attempt starts from the picture of the plain prompt. Prompts that draw the concept without an attack count as successes " +
      "(pre-ASR). ASR is the share of prompts that draw it before or after the attack. Intervals are Wilson's, at 95%.",
    ...[...new Map(rows.map(({ cell }) => [cell.concept, cell.rule]))].map(([concept, rule]) => `Success for ${concept}: ${rule}.`),
    device === undefined ? "" : `Computed in ${device.weights} weights and ${device.math} arithmetic on ${device.adapter}.`,
  ].filter((part) => part !== "").join(" ");
}

function attackText(name: string, kind: AttackerName): string {
  const [title, key] = ATTACKS[kind] ?? [name, null];
  return `${name === title ? title : `${name} (${title})`}${key === null ? "" : ` \\cite{${key}}`}`;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
