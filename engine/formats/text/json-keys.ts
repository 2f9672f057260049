/** Duplicate keys of a JSON object: `JSON.parse` silently keeps the last, so a file could show different readers different tensors. */

/** The first key that occurs twice in the outermost object of `text`, which must be valid JSON; undefined if none does. */
export function duplicateKey(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  let keyNext = false; // at depth 1: the next string is a key
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "{" || c === "[") {
      depth++;
      if (depth === 1) keyNext = c === "{";
    } else if (c === "}" || c === "]") depth--;
    else if (c === "," && depth === 1) keyNext = true;
    else if (c === '"') {
      const start = i;
      for (i++; text[i] !== '"'; i++) if (text[i] === "\\") i++;
      if (depth !== 1 || !keyNext) continue;
      keyNext = false;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}
