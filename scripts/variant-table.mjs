// The worst error of every variant of products and attention on every adapter, as the table of bench/README. Each adapter's line in FILE
// comes from:
//   LETHE_ERRORS=FILE LETHE_ADAPTER=NAME node scripts/test.mjs ops/gemm-variants ops/attention
// Usage: node scripts/variant-table.mjs FILE
import { readFileSync } from "node:fs";

const rows = readFileSync(process.argv[2], "utf8").trim().split("\n").map((line) => JSON.parse(line));
const adapters = [...new Set(rows.map((r) => r.adapter))];
const variants = [...new Set(rows.map((r) => r.variant))];
const worst = (found) => {
  if (found.length === 0) return "";
  const most = Math.max(...found.map((r) => r.error ?? Infinity)); // JSON has no Infinity
  return `${most.toExponential(1)}${found.every((r) => r.error !== null && r.error <= r.tolerance) ? "" : " WRONG"}`;
};
const cells = (variant, adapter) => {
  const of = rows.filter((r) => r.variant === variant && r.adapter === adapter);
  const gradients = of.filter((r) => r.tensor.startsWith("gradient") || /^output [2-9]/.test(r.tensor));
  return [worst(of.filter((r) => !gradients.includes(r))), worst(gradients)].filter(Boolean).join(" / ");
};
console.log(`| variant | ${adapters.join(" | ")} |\n|${"---|".repeat(adapters.length + 1)}`);
for (const variant of variants) console.log(`| \`${variant}\` | ${adapters.map((adapter) => cells(variant, adapter)).join(" | ")} |`);
