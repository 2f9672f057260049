/** Entry point of the `lethe` command. */
export {};
