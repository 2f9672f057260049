/** What --help says of a command besides its options: which of them matter first, what the others are for, and examples. */
export interface HelpText {
  /** Options that most runs need, in this order. */
  readonly main?: readonly string[];
  /** The others by purpose; those named nowhere come last. */
  readonly groups?: readonly (readonly [title: string, flags: readonly string[]])[];
  readonly examples: readonly string[];
}

const JUDGE = [
  "--classifier", "--judge", "--judge-model", "--judge-top", "--judge-threshold", "--judge-preset", "--judge-prompts", "--judge-text",
  "--label",
];
const MODEL = ["--unet", "--text-encoder", "--lora", "--ema", "--prediction-type", "--config", "--original"];
const SEARCH = [
  "--insert", "--vocabulary", "--timesteps", "--max-timesteps", "--attack-seed", "--weight-decay", "--loss", "--projection",
  "--random-init", "--restarts", "--timesteps-per-step", "--timestep-order", "--screening-steps", "--gate", "--gate-margin",
  "--gate-samples",
];
const ESD = "emoji/unlearned/esd-x-church/ESDx-church-UNet.pt";

/** Commands in the order in which a newcomer meets them. */
export const COMMAND_GROUPS: readonly (readonly [title: string, names: readonly string[]])[] = [
  ["Begin", ["demo", "init", "doctor", "web"]],
  ["Attack", ["attack", "evaluate", "merge"]],
  ["Judge the results", ["diff", "rejudge", "card"]],
  ["Draw and erase", ["generate", "unlearn", "quality", "serve"]],
  ["Look closer", ["inspect", "estimate", "classify", "tokenize", "verify", "bench"]],
];

export const HELP_TEXTS: Readonly<Record<string, HelpText>> = {
  lethe: {
    examples: ["lethe demo", "lethe init my-evaluation", "lethe evaluate my-evaluation/evaluation.json --out out/mine --open"],
  },
  demo: { examples: ["lethe demo --open", "lethe demo --minutes 10 --out out/longer"] },
  generate: {
    main: [
      "--model", "--prompt", "--out", "--seed", "--steps", "--guidance", "--scheduler", "--count", "--prompts-csv", "--negative-prompt",
    ],
    groups: [
      ["The model", MODEL],
      ["The picture", ["--width", "--height", "--eta", "--sld", "--safree", "--embedding"]],
    ],
    examples: [
      'lethe generate --model emoji --prompt "a picture of a church" --seed 7 --out church.png',
      "lethe generate --model emoji --prompts-csv emoji/dataset/church/prompts.csv --out out/targets",
    ],
  },
  attack: {
    main: ["--model", "--unet", "--prompt", "--target", "--judge", "--label", "--out", "--attacker", "--tokens", "--iterations"],
    groups: [
      ["The run", ["--resume", "--overwrite", "--show-images", "--show-prompts", "--open"]],
      ["Who judges", JUDGE],
      ["The model", MODEL],
      ["How pictures are drawn", ["--seed", "--steps", "--scheduler", "--guidance", "--endpoint"]],
      ["The search", ["--learning-rate", ...SEARCH]],
      [
        "Single attackers",
        ["--from", "--concept-pairs", "--learned-prompt", "--eta", "--population", "--generations", "--mutation-rate", "--crossover-rate"],
      ],
      ["One set of tokens for many prompts", ["--universal", "--prompts", "--targets", "--cases-per-step"]],
    ],
    examples: [
      `lethe attack --model emoji --unet ${ESD} --prompt "a picture of a church" --target emoji/dataset/church/imgs/0_0.png ` +
        "--judge emoji-object --label church --out out/church",
      "lethe attack --resume --out out/church",
    ],
  },
  evaluate: {
    main: ["--out", "--resume", "--dry-run", "--fail-if", "--junit", "--open"],
    groups: [
      ["A part of it", ["--cell", "--shard"]],
      ["What is shown", ["--show-images", "--show-prompts"]],
    ],
    examples: [
      "lethe evaluate emoji/evaluation.json --out out/table --dry-run",
      'lethe evaluate emoji/evaluation.json --out out/table --resume --fail-if "asr>20" --junit out/lethe.xml',
    ],
  },
  estimate: {
    main: ["--model", "--steps", "--width", "--height"],
    groups: [["The model", MODEL]],
    examples: [
      "lethe estimate --model synthetic:sdxl --weights f16 --memory-limit 12",
      "lethe estimate --model synthetic:sdxl --memory-limit 8 --offload",
    ],
  },
  merge: { examples: ["lethe merge out/table --out out/whole"] },
  diff: { examples: ["lethe diff out/before out/after --out diff.html --open"] },
  rejudge: {
    main: ["--judge", "--judge-threshold", "--judge-top", "--label", "--out", "--concept"],
    groups: [["The judge", JUDGE], ["The report", ["--show-images", "--show-prompts", "--open"]]],
    examples: [
      "lethe rejudge out/nudity --judge-threshold 0.6",
      "lethe rejudge out/table --judge style --judge-model DIR --judge-top 3 --out out/top3",
    ],
  },
  card: { examples: ["lethe card out/table", "lethe card out/table --dataset ORG/NAME --out my-model"] },
  init: {
    main: ["--model", "--unet", "--concept", "--judge", "--label", "--budget", "--prompts", "--targets"],
    groups: [["Who judges", JUDGE]],
    examples: [
      "lethe init my-evaluation",
      `lethe init church --model emoji --unet ${ESD} --concept church --judge emoji-object --budget quick`,
    ],
  },
  serve: {
    main: ["--model", "--unet", "--port", "--steps", "--guidance", "--seed"],
    groups: [["The model", MODEL]],
    examples: [
      `lethe serve --model emoji --unet ${ESD}`,
      "curl localhost:8421/v1/images/generations -H content-type:application/json -d '{\"prompt\":\"a church\"}'",
    ],
  },
  unlearn: {
    main: ["--model", "--concept", "--method", "--recipe", "--anchor", "--out", "--steps", "--learning-rate", "--retain", "--images"],
    groups: [
      ["The run", ["--resume", "--overwrite", "--seed", "--save-every", "--show-images", "--open"]],
      ["The result", ["--layout", "--tensors"]],
      ["Previews", ["--preview-every", "--previews", "--preview-steps", "--preview-guidance", "--preview-seed"]],
      ["The model", MODEL],
      [
        "The training",
        ["--batch", "--schedule", "--warmup-steps", "--weight-decay", "--clip", "--guidance", "--sampling-steps", "--pictures", "--size"],
      ],
      ["ESD", ["--erase-from", "--negative-guidance"]],
      ["UCE, RECE", ["--technique", "--lamb", "--erase-scale", "--preserve-scale", "--regular-scale"]],
      ["SalUn", ["--retain-images", "--alpha", "--mask-share", "--unmasked"]],
      [
        "AdvUnlearn",
        [
          "--attack", "--attack-steps", "--attack-learning-rate", "--attack-tokens", "--attack-init", "--attack-warmup", "--retain-mode",
          "--retain-weight", "--retain-batch",
        ],
      ],
      ["Concept Ablation, Forget-Me-Not", ["--prior-weight", "--pooler"]],
      ["Fine-tuning, LoRA", ["--accumulate", "--average-decay", "--average-warmup", "--adapt-text", "--rank"]],
    ],
    examples: [
      'lethe unlearn --model emoji --method uce --concept church --anchor "a castle" --out out/uce-church.pt',
      "lethe unlearn --resume --out out/esd-church.pt",
    ],
  },
  quality: {
    main: ["--model", "--unet", "--captions", "--images", "--real", "--statistics", "--inception", "--clip", "--out", "--count"],
    groups: [
      ["The run", ["--resume", "--overwrite", "--shard", "--drop-pictures", "--skip-unreadable"]],
      ["How pictures are drawn", ["--steps", "--scheduler", "--guidance", "--batch"]],
      ["The scores", ["--recipe", "--dims", "--kid-subsets", "--kid-size", "--kid-seed", "--bootstrap"]],
      ["The model", MODEL],
    ],
    examples: [
      "lethe quality --model emoji --captions captions.csv --real real --inception emoji/classifier/object --out out/quality",
      "lethe quality --images drawn --statistics coco.npz --inception pt_inception-2015-12-05-6726825d.pth --out out/quality",
    ],
  },
  classify: {
    main: ["--model", "--image", "--prompts"],
    groups: [["The model", MODEL]],
    examples: ["lethe classify --model emoji --image church.png --prompts classes.txt"],
  },
  verify: { examples: ["lethe verify --golden emoji/reference"] },
  inspect: { examples: [`lethe inspect ${ESD}`, "lethe inspect emoji"] },
  tokenize: { examples: ['lethe tokenize --model emoji --prompt "a church"'] },
  doctor: { examples: ["lethe doctor", "lethe doctor --math auto --kernels tune"] },
  web: { examples: ["lethe web", "lethe web --out site"] },
  bench: { examples: ["lethe bench", "lethe bench ops --peers"] },
};
