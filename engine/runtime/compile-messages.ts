/** What a shader compiler says, as WebGPU has it. */
export interface CompileMessage {
  readonly type: string;
  readonly message: string;
  readonly lineNum: number;
  readonly linePos: number;
}

/** What the compiler said, each message as `error at LINE:COL: TEXT` over its numbered source line and three lines around. */
export function formatCompileMessages(
  text: string,
  messages: readonly CompileMessage[],
): string {
  const lines = text.split("\n");
  const width = String(lines.length).length;
  return messages
    .map(({ type, lineNum, linePos, message }) => {
      const head = `${type} at ${lineNum}:${linePos}: ${message}`;
      if (lineNum < 1 || lineNum > lines.length) return `${type}: ${message}`;
      const first = Math.max(1, lineNum - 3);
      const around = lines.slice(first - 1, lineNum + 3).flatMap((line, i) => {
        const row = `${first + i === lineNum ? ">" : " "} ${String(first + i).padStart(width)} | ${line}`;
        return first + i === lineNum && linePos > 0
          ? [row, `  ${" ".repeat(width)} | ${line.slice(0, linePos - 1).replace(/\S/g, " ")}^`]
          : [row];
      });
      return [head, ...around].join("\n");
    })
    .join("\n");
}
