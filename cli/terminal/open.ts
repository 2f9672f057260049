import { spawn } from "node:child_process";

/** The flag of commands that write a page, for commander. */
export const OPEN = ["--open", "show the page in the browser once it is written"] as const;

/** Shows a file or an address with the system's own program. @param failed told if there is none */
export function openFile(target: string, failed: (problem: string) => void): void {
  const [program, args] = {
    darwin: ["open", [target]] as const,
    win32: ["cmd", ["/c", "start", "", target]] as const,
  }[process.platform as string] ?? (["xdg-open", [target]] as const);
  const child = spawn(program, args, { stdio: "ignore", detached: true });
  child.on("error", () => failed(`--open: ${program} is not there; open ${target} yourself`));
  child.unref();
}
