import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { UsageError, errorMessage } from "../../engine/runtime/errors.ts";

const LOOPBACK = "127.0.0.1";

/** Whether a host's name, with or without a port, is this machine's own: another that is made to point here gets nothing. */
export function isLocal(host: string): boolean {
  return /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(host);
}

/** Begins to listen on the loopback address. @returns the server's address @throws UsageError for a port that cannot be used */
export async function listenLocally(server: Server, port: number): Promise<string> {
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(port, LOOPBACK, resolve));
  } catch (error) {
    throw new UsageError(`port ${port} cannot be used: ${errorMessage(error)}; choose another with --port, or 0 for any free one`, {
      cause: error,
    });
  }
  return `http://localhost:${(server.address() as AddressInfo).port}/`;
}

/** Finds out before long work begins whether a port can be used. @throws UsageError */
export async function requireFreePort(port: number): Promise<void> {
  const server = createServer();
  await listenLocally(server, port);
  await new Promise((resolve) => server.close(resolve));
}

/** Resolves when the signal says so, with the server closed. */
export async function untilInterrupted(server: Server, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve());
  });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}
