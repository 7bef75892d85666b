"""`cca plan` against Snakemake's own counts, closed forms, and networks that really compute."""

import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cca import models, resources, tokenizers
from cca.cli import app
from cca.config import Tier, load_tier
from cca.data import images as image_data
from cca.errors import CCAError
from cca.plan import memory
from cca.plan.compute import MACHINES, Networks, operations, samples_of, seconds
from cca.plan.images import Split, training_split
from cca.plan.jobs import Job, files_of, needed, planned, targets
from cca.plan.storage import size
from cca.stages import train_classifier, train_tokenizer

from ..smoke import command

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tier() -> Tier:
    return load_tier("smoke", REPOSITORY / "workflow/config")


@pytest.fixture(scope="module")
def jobs() -> list[Job]:
    return planned(REPOSITORY / "Snakefile", {"tier": "smoke"})


@pytest.fixture(scope="module")
def networks(tier: Tier) -> Networks:
    return Networks(tier, classes=10)


def counted(*wanted: str) -> Counter:
    """Jobs by rule in the table that Snakemake prints of a dry run."""
    asked = command(Path.cwd(), *wanted, "-nF", "--quiet", "rules")
    run = subprocess.run(asked, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.split() for line in (run.stdout + run.stderr).splitlines()]
    start = rows.index(["job", "count"]) + 2
    end = next(index for index, row in enumerate(rows) if row[:1] == ["total"])
    return Counter({rule: int(number) for rule, number in rows[start:end]})


def test_a_targets_jobs_are_those_that_snakemake_counts(jobs: list[Job]) -> None:
    part = needed(jobs, ["results/table3.csv"])
    assert Counter(job.rule for job in part) == counted("results/table3.csv")


def test_the_command_prints_what_snakemake_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """An artefact is all of its files, by whichever it is called."""
    monkeypatch.chdir(tmp_path)
    words = ["plan", "results/table3.csv", "--tier", "smoke", "--folder", f"{REPOSITORY}/workflow/config"]
    app(words, standalone_mode=False, obj={})
    printed = capsys.readouterr().out
    tables = [[]]
    for line in printed.splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    (header, _, *costs), longest, memories = tables
    counts = counted(*(f"results/table3.{kind}" for kind in ("csv", "md", "tex")))
    assert header[:4] == ["target", "jobs", "finetunes", "images sampled"]
    expected = [str(counts.total()), str(counts["finetune"]), f"{200 * counts['sample']:,}"]
    assert [row[:4] for row in costs] == [[name, *expected] for name in ("results/table3", "all of these")]
    heavy = {resources.heavy(rule) for rule in counts} - {None}
    assert [row[0] for row in longest[2:]] == sorted(heavy) and {"tokenizer", "finetune", "sample"} <= heavy
    assert [row[0] for row in memories[2:]] == ["llamagen-s"]
    assert "Times are for one CPU core" in printed and header[4] == "minutes"


def test_every_artefact_of_the_tier_is_a_target(jobs: list[Job], tier: Tier) -> None:
    named = {f"results/{name}" for name in (*tier.tables, "claims", "pitfalls", "theory")}
    assert set(targets(jobs)) == named | {f"paper_figures/{name}" for name in tier.figures}


def test_images_sampled_are_the_tiers(jobs: list[Job], tier: Tier) -> None:
    """200 of every experiment, and 200 of each of pitfalls' variants, which take one seed."""
    drawn = Counter()
    for job in jobs:
        drawn[job.rule] += samples_of(tier, job)
    folders = {job.outputs[0].rpartition("/samples/")[0] for job in jobs if job.rule == "sample"}
    shown = tier.tables["table3"].experiments()
    assert {f"results/smoke/{experiment.metrics.parent}" for experiment in shown} <= folders
    assert drawn.pop("sample") == 200 * len(folders)
    assert drawn.pop("sample_variant") == 200 * len(tier.pitfalls.sampling)
    assert not any(drawn.values())


def test_operations_of_a_transformer_are_twice_its_products(networks: Networks, tier: Tier) -> None:
    """Two for each weight of a matrix and token, and the two products of causal attention, counted whole."""
    model = networks.models["llamagen-s"]
    matrices = sum(
        weight.numel() for name, weight in model.named_parameters() if weight.dim() == 2 and "emb" not in name
    )
    tokens, sizes = model.num_tokens, tier.models["llamagen-s"].pretraining.architecture
    attention = sizes["layers"] * 2 * tokens**2 * sizes["dim"]
    assert networks.forward["llamagen-s"] == 2 * (matrices * tokens + attention)


def test_guidance_doubles_drawing_and_finetuning_triples_scoring(networks: Networks, tier: Tier) -> None:
    where = {"model": "llamagen-s", "shard": "0", "shards": "1", "seed": "0"}

    def work(rule: str, **more: str) -> dict[str, float]:
        return operations(Job(rule, (), (), tuple((where | more).items())), tier, networks, Split(160, 10))

    free, guided = (work("sample", scale=scale)["decoding"] for scale in ("0", "1"))
    assert guided == 2 * free == 2 * 200 * networks.forward["llamagen-s"]
    assert work("finetune")["training"] == 3 * work("score")["scoring"]
    assert work("score")["scoring"] == 2 * 160 * networks.forward["llamagen-s"]
    assert work("pairs") == {}
    assert work("pitfalls")["convolution"] > 20 * 200 * networks.extract  # two dozen mistakes


def test_operations_of_a_tokenizers_training_are_those_that_torch_counts_in_it(
    tier: Tier, tmp_path: Path
) -> None:
    """With its perceptual network and its discriminator; what revives codes is not planned."""
    blocks = tier.perceptual.architecture.model_copy(update={"blocks": 1})
    perceptual = tier.perceptual.model_copy(update={"architecture": blocks})
    tier = tier.model_copy(update={"perceptual": perceptual})
    images, perceptual = tmp_path / "images.npz", tmp_path / "perceptual.safetensors"
    image_data.run(tier.data, out=images)
    train_classifier.run(tier.perceptual, images=images, out=perceptual)
    job = Job("tokenizer", (), (), (("tokenizer", "vq"),))
    planned = operations(job, tier, Networks(tier, 10), Split(160, 10))["convolution"]
    with FlopCounterMode(display=False) as counter:
        out = tmp_path / "tokenizer.safetensors"
        train_tokenizer.run(tier.tokenizers["vq"].making, images=images, perceptual=perceptual, out=out)
    assert counter.get_total_flops() == pytest.approx(planned, rel=0.02)


def test_checkpointed_activations_cost_another_forward_pass(networks: Networks, tier: Tier) -> None:
    job = Job("finetune", (), (), (("model", "llamagen-s"), ("finetune", "sft")))
    entry = tier.models["llamagen-s"]
    checkpointed = entry.finetuning.model_copy(update={"activation_checkpointing": True})
    models = {"llamagen-s": entry.model_copy(update={"finetuning": checkpointed})}
    plain, again = (
        operations(job, chosen, networks, Split(160, 10))["training"]
        for chosen in (tier, tier.model_copy(update={"models": models}))
    )
    assert again == pytest.approx(4 / 3 * plain)


def test_a_gpu_draws_a_small_models_batch_in_the_time_that_its_layers_take_to_begin(
    networks: Networks, tier: Tier
) -> None:
    """As many layers as it has, for each of its tokens; guided or not."""
    gpu, layers = MACHINES["h100"], len(networks.models["llamagen-s"].trunk)
    batches = 200 / tier.models["llamagen-s"].sampling.batch_size
    expected = batches * layers * networks.models["llamagen-s"].num_tokens / gpu.layers
    for scale in ("0", "1"):
        where = {"model": "llamagen-s", "shard": "0", "shards": "1", "seed": "0", "scale": scale}
        job = Job("sample", (), (), tuple(where.items()))
        taken = seconds(job, tier, networks, Split(160, 10), gpu) - gpu.start
        assert taken == pytest.approx(expected, rel=0.02)


def test_a_checkpoint_takes_four_bytes_a_number(jobs: list[Job], networks: Networks, tier: Tier) -> None:
    job = next(job for job in jobs if job.rule == "pretrain")
    weights = sum(weight.numel() for weight in networks.models["llamagen-s"].parameters())
    assert size(job, tier, networks, Split(160, 10)) == pytest.approx(4 * weights, abs=20_000)


def test_no_job_is_free(jobs: list[Job], networks: Networks, tier: Tier) -> None:
    cpu, split = MACHINES["cpu"], Split(160, 10)
    assert all(seconds(job, tier, networks, split, cpu) >= cpu.start for job in jobs)


def test_images_are_as_many_as_the_stage_keeps(tier: Tier, tmp_path: Path) -> None:
    image_data.run(tier.data, out=tmp_path / "images.npz")
    kept = image_data.load(tmp_path / "images.npz")
    assert training_split(tier.data) == Split(
        len(kept.train_images), kept.num_classes, len(kept.heldout_images)
    )


@pytest.mark.parametrize(
    ("source", "change", "expected"),
    [
        ("cifar10", {}, (50_000, 10_000)),
        ("cifar10", {"heldout_fraction": 0.5}, (30_000, 30_000)),
        ("cifar10", {"limit_per_class": 60}, (500, 100)),
        ("imagenet", {"heldout_fraction": 0.0001}, (1_280_167, 1_000)),  # `val` is not read
        ("mnist5k", {"heldout_fraction": 0.2, "limit_per_class": 100}, (800, 200)),
    ],
)
def test_a_split_of_a_sources_own_is_part_of_what_is_limited_and_split(
    tier: Tier, source: str, change: dict, expected: tuple[int, int]
) -> None:
    data = tier.data.model_copy(update={"source": source, "heldout_fraction": None, "limit_per_class": None})
    split = training_split(data.model_copy(update=change))
    assert (split.images, split.heldout) == expected


@pytest.mark.parametrize("family", ["llamagen", "var"])
def test_memory_counted_without_values_is_what_a_real_network_keeps(family: str) -> None:
    """Under autocast to bfloat16, on the CPU; the plan counts a little more, and never less."""
    mini = load_tier("mini", REPOSITORY / "workflow/config")
    entry = mini.models[f"{family}-s"]
    part, coder = entry.making, mini.tokenizers[entry.tokenizer]

    def build() -> models.ARModel:
        tokenizer = tokenizers.build(coder.kind, coder.architecture)
        return models.build(part.family, part.architecture, tokenizer, num_classes=10)

    with torch.device("meta"):
        planned_memory = memory.plan(build())
    model = build()
    planned_logits = 2 * memory.logits(model)
    codes = torch.zeros(1, model.num_tokens, dtype=torch.int64)
    weights = {weight.data_ptr() for weight in model.parameters()}
    shapes = {tuple(weight.shape) for weight in model.parameters() if weight.ndim == 2}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.dtype == torch.bfloat16 and {tuple(tensor.shape), tuple(tensor.shape[::-1])} & shapes
        if not copy and tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        model.log_prob(codes, codes[:, 0])
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert real <= (planned_memory.activations - planned_logits) / 2 <= 1.3 * real
    assert planned_memory.checkpointed < planned_memory.activations
    numbers = sum(weight.numel() for weight in model.parameters())
    assert planned_memory.total(0) == (4 + 4 + 8 + 2) * numbers
    assert planned_memory.total(0, gpus=8) == (2 + 2) * numbers
    assert planned_memory.total(4, gpus=8) - planned_memory.total(0, gpus=8) == 4 * planned_memory.activations


def test_of_what_is_not_known_one_line_says_so() -> None:
    with pytest.raises(CCAError, match=r"tier 'smokey' is not one of: .*smoke"):
        planned(REPOSITORY / "Snakefile", {"tier": "smokey"})
    known = {"results/table2": ["results/table2.csv", "results/table2.md"]}
    assert (
        files_of("results/table2", known) == files_of("results/table2.md", known) == known["results/table2"]
    )
    with pytest.raises(CCAError, match=r"^target 'results/table2.pdf' is not one of: results/table2$"):
        files_of("results/table2.pdf", known)
