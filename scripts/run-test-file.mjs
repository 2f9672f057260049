import { spawn } from "node:child_process";

/**
 * Runs a bundled test file in a process of its own and counts what uvu reports. One that crashes, hangs or reports nothing counts as one
 * failure.
 * @param selected some cases were asked for, so that a file may have none of them (`none`)
 */
export function runTestFile(script, timeoutMs, selected = false) {
  return new Promise((done) => {
    const started = Date.now();
    const child = spawn(process.execPath, ["--enable-source-maps", script.replace(/\.ts$/, ".js")], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FORCE_COLOR: "0" },
    });
    let out = "";
    child.stdout.on("data", (d) => (out += d));
    child.stderr.on("data", (d) => (out += d));
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const count = (word) => Number(new RegExp(`${word}:\\s+(\\d+)`).exec(out)?.[1] ?? 0);
      const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
      const none = selected && total === 0 && code === 0;
      let failed = total - passed - skipped;
      if (!none && (total === 0 || (code !== 0 && failed === 0))) failed = Math.max(1, failed);
      done({ passed, failed, skipped, none, out, code, signal, seconds: (Date.now() - started) / 1000 });
    });
  });
}
