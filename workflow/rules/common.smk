# The tier, and what the rules share.

import fcntl
import json
import os
import shlex
import sys
from pathlib import Path

from cca import plugins
from cca import resources as cluster
from cca.records.codebase import digest
from cca.config import FETCHED_INCEPTION, INCEPTION_WEIGHTS, load_tier
from cca.errors import CCAError
from cca.experiments import BASE, Experiment
from cca.files import check_room
from cca.gpus import check_run, wanted
from cca.presets import check_cluster, check_machine, settle

WORKFLOW = Path(os.path.relpath(Path(workflow.basedir) / "workflow"))
OVERRIDES = {key: value for key, value in config.items() if key != "tier"}
TIER = config.get("tier", "mini")
RESULTS = f"results/{TIER}"
try:
    if workflow.is_main_process:
        check_room(Path.cwd())
    tier = load_tier(TIER, WORKFLOW / "config", OVERRIDES)
except CCAError as error:
    sys.exit(f"error: {error}")
if tier.preset and workflow.is_main_process:
    print(f"tier {TIER}: preset {tier.preset}", file=sys.stderr)

# `cca` of this very environment, also where it is not activated; progress bars write to logs here. No
# result depends on these, so that they are no parameters of rules. The shell becomes the command: left between
# them, it would end at once on SIGTERM, and the job with it, while a training still writes its state.
shell.prefix(
    f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH TQDM_MININTERVAL=10"
    f" CCA_KEEP_EVERY={tier.keep_every}; exec"
)


# The extractor's weights: the tier's classifier, the file it names, Inception's once fetched, or none where an extractor finds its own.
CLASSIFIER = f"{RESULTS}/features/classifier.safetensors"
WEIGHTS = [CLASSIFIER] if tier.classifier else [str(path) for path in [tier.evaluation.own_weights] if path]
PROTOCOL = tier.evaluation.protocol

# The reference batch: the file that the tier names, or one that is fetched or made.
REFERENCE = f"{RESULTS}/reference/reference.npz"
if isinstance(tier.evaluation.reference, Path):
    REFERENCE = str(tier.evaluation.reference)

# The network of the tokenizers' perceptual loss.
PERCEPTUAL = f"{RESULTS}/features/perceptual.safetensors"

# What users ask for, copied from the tier's own folder.
ARTEFACTS = [
    *expand("results/{table}.{kind}", table=tier.tables, kind=["csv", "md", "tex"]),
    *expand("paper_figures/{figure}.{kind}", figure=tier.figures, kind=["pdf", "png", "csv"]),
    *expand("results/claims.{kind}", kind=["csv", "md"] if tier.claims else []),
    *expand("results/pitfalls.{kind}", kind=["csv", "md"] if tier.pitfalls else []),
    *expand("results/theory.{kind}", kind=["csv", "md"] if tier.theory else []),
]


wildcard_constraints:
    tier=re.escape(TIER),
    model="|".join(map(re.escape, tier.models)),
    tokenizer="|".join(map(re.escape, tier.tokenizers)),
    finetune="|".join(map(re.escape, [*tier.finetunes, BASE])),
    system="|".join(map(re.escape, tier.external)),
    seed=r"\d+",
    mask=r"[\d.]+",
    scale=r"[\d.]+",
    variant="|".join(map(re.escape, tier.pitfalls.sampling if tier.pitfalls else [])) or "none",
    shard=r"\d+",
    shards=r"\d+",


def names(section, imported):
    """Which of a section's entries are imported, or are made by the DAG, as a wildcard's pattern."""
    chosen = [name for name, entry in getattr(tier, section).items() if entry.imported == imported]
    return "|".join(map(re.escape, chosen)) or "none"


def title(kind, name):
    """What a table or figure is called: the first sentence of its module."""
    return plugins.title(f"cca.report.{kind}", name)


def settings(section):
    """What a stage is given on its command line: exactly the part of the tier that it depends on."""
    values = section if isinstance(section, dict) else section.model_dump(mode="json")
    return json.dumps(values, sort_keys=True)


def needs(rule):
    """What a job asks of a scheduler by the tier; a profile's `set-resources` go over it."""
    return cluster.needs(tier.resources, rule)


def gpus_wanted(jobs):
    """How many GPUs of a node jobs ask for, by rule."""
    return {job.rule.name: wanted(job.resources.get("device", "auto")) for job in jobs}


def tokenizer_code(model):
    return f"cca.tokenizers.{tier.tokenizers[tier.models[model].tokenizer].kind}"


def model_code(model):
    """The plug-ins that make a model."""
    return f"cca.models.{tier.models[model].making.family}", tokenizer_code(model)


def of_tokenizer(name):
    """The path of a file of a model's tokenizer, as an input function."""
    return lambda wildcards: f"{RESULTS}/tokenizers/{tier.models[wildcards.model].tokenizer}/{name}"


def code_shards(wildcards):
    """The files that the codes.npz of a model's tokenizer refers to, which its readers read too."""
    folder = of_tokenizer(f"codes/{tier.code_shards}")(wildcards)
    return [f"{folder}/shard_{shard}.safetensors" for shard in range(tier.code_shards)]


def score_shards(kind):
    """All shards of the scores of a finetune's pairs, as an input function."""
    return lambda w: [of_pairs(f"{kind}/{tier.score_shards}/shard_{shard}.npz")(w) for shard in range(tier.score_shards)]


def experiment(wildcards):
    return Experiment(wildcards.model, wildcards.finetune, int(wildcards.seed), float(wildcards.scale))


def of_pairs(name):
    """The path of a file of a finetune's pairs, as an input function."""
    return lambda w: f"{RESULTS}/{w.model}/pairs/mask={tier.mask_rate(w.model, w.finetune):g}/seed={w.seed}/{name}"


def if_samples(then, otherwise):
    """One of two input functions: whether a finetune's negatives are samples or other labels."""
    return lambda w: then(w) if tier.contrasts_samples(w.finetune) else otherwise(w)


def fakes_option(wildcards, input):
    return ["--fakes", input.fakes] if input.get("fakes") else []


def perceptual_option(wildcards, input):
    return ["--perceptual", input.perceptual] if input.get("perceptual") else []


def samples_of_system(wildcards):
    """Another system's file, or where that is fetched to."""
    system = tier.external[wildcards.system]
    return f"{RESULTS}/external/{wildcards.system}/samples.npz" if system.download else system.path(RESULTS)


def weights_option(wildcards, input):
    return ["--weights", *input.weights] if input.weights else []


onstart:
    images = set(rules.data.output)
    if images_missing and any(images & {*job.input, *job.output} for job in workflow.dag.needrun_jobs()):
        sys.exit(f"error: {images_missing}")
    try:
        if workflow.local_exec:
            check_machine(tier.preset)
            check_run(tier.resources, gpus_wanted(workflow.dag.needrun_jobs()))
        else:  # jobs may have the GPUs that the login node lacks
            check_cluster(tier.preset, config.get("preset"))
    except CCAError as error:
        sys.exit(f"error: {error}")
    # The kernel releases this lock with the process, however that ends; Snakemake's own goes stale.
    global run_lock
    Path(".snakemake").mkdir(exist_ok=True)
    run_lock = open(".snakemake/cca.lock", "w")
    try:
        fcntl.flock(run_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("error: another snakemake run is active in this folder; wait for it or use another folder")
    try:
        settle(tier.preset, config.get("preset"), Path(RESULTS))
    except CCAError as error:
        sys.exit(f"error: {error}")
