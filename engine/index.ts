/** The public API of Lethe, all of it. */
export {};
