/** The word that `cce` learns, and the prompt it is learned and judged in unless another is given: a template of textual inversion (arXiv 2208.01618). */
export const LEARNED_WORD = "<cce>";
export const LEARNED_PROMPT = `a picture of ${LEARNED_WORD}`;
