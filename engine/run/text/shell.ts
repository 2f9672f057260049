/** One argument for a POSIX shell. Characters that a terminal does not show are written as escapes ($'...', bash and zsh). */
export function shellArgument(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/[\p{C}\p{Zl}\p{Zp}\ufffd]/u.test(text)) return `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const escaped = text.replace(/[\\']|[\p{C}\p{Zl}\p{Zp}\ufffd]/gu, (c) => {
    const code = c.codePointAt(0)!;
    if (c === "\\" || c === "'") return `\\${c}`;
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
  return `$'${escaped}'`;
}

/** A command line that can be pasted. */
export function shellCommand(words: readonly string[]): string {
  return words.map(shellArgument).join(" ");
}
