import type { Board, TextTable } from "./columns.ts";
import { sourcesOf } from "./reported.ts";
import { effectsNote, effectsTable, leaderboard, leaderboardNote, sourceLines } from "./tables.ts";

/** leaderboard.tex: tables for the package booktabs, each with a \label. */
export function leaderboardTex(board: Board): string {
  const sources = sourceLines(sourcesOf(board.rows));
  const tables = [texTable(leaderboard(board), "tab:lethe-asr", `${board.title}. ${leaderboardNote(board)}`, sources)];
  if (board.effects.length > 0) {
    tables.push(texTable(effectsTable(board), "tab:lethe-side-effects", `${board.title}: side effects. ${effectsNote(board)}`, []));
  }
  return `% needs \\usepackage{booktabs}\n${tables.join("\n")}`;
}

function texTable({ header, rows, names }: TextTable, label: string, caption: string, notes: readonly string[]): string {
  const line = (cells: readonly string[]): string => `${cells.map(texEscape).join(" & ")} \\\\\n`;
  const below = notes.length > 0 ? `\n\\par\\raggedright\\scriptsize\n${notes.map(texEscape).join("\\\\\n")}` : "";
  return `\\begin{table}
\\caption{${texEscape(caption)}}
\\label{${label}}
\\footnotesize
\\begin{tabular}{${"l".repeat(names)}${"r".repeat(header.length - names)}}
\\toprule
${line(header)}\\midrule
${rows.map(line).join("")}\\bottomrule
\\end{tabular}${below}
\\end{table}
`;
}

const TEX: Readonly<Record<string, string>> = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };

/** Brackets are wrapped: after a line's end LaTeX would take them for an option. */
export function texEscape(text: string): string {
  return text.replace(/[\\~^]|[&%$#_{}]/g, (c) => TEX[c] ?? `\\${c}`).replace(/^\[/, "{[}");
}
