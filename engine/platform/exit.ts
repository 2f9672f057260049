/**
 * Ends the process once stdout and stderr are written out. Dawn polls while any GPU work is pending, so a Node process
 * that used a device is ended rather than waited for; process.exit alone would cut off output to a pipe.
 */
export async function exitWhenFlushed(code: number): Promise<never> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise<void>((done) => stream.write("", () => done()))));
  process.exit(code);
}

/**
 * Lets the work go on quietly once the reader of its output (`| head`) has gone: files are still written. Other errors of the streams are
 * thrown as before.
 */
export function outliveReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}
