"""What a tier asks of a scheduler, in the executor's names."""

import pytest

from cca.errors import CCAError
from cca.resources import Resources, as_snakemake, check, heavy, needs, of_rule

TIER = {
    "default": Resources(gpus=1, mem_mb=10_000, runtime=30),
    "finetune": Resources(gpus=8, nodes=2, runtime=600),
}


def test_an_entry_goes_over_the_default_key_by_key() -> None:
    assert of_rule(TIER, "finetune") == Resources(gpus=8, nodes=2, mem_mb=10_000, runtime=600)
    assert of_rule(TIER, "sample") == TIER["default"]
    assert of_rule({}, "sample") == Resources()


def test_the_default_entry_is_not_for_rules_that_need_no_gpu() -> None:
    """They ask for what their own entry says, else for nothing, so that a profile's defaults hold."""
    assert needs(TIER, "import_model") == {} and needs(TIER, "sample")["gres"] == "gpu:1"
    asked = needs(TIER | {"import_model": Resources(mem_mb=48_000)}, "import_model")
    assert asked["mem_mb"](None, attempt=3) == 96_000 and "gres" not in asked


def test_cores_are_the_rules_threads_where_no_entry_says_them() -> None:
    assert "cpus_per_task" not in as_snakemake(Resources())
    assert as_snakemake(Resources(cpus=4))["cpus_per_task"] == 4


def test_a_partition_and_a_constraint_are_those_of_slurm_and_the_profiles_where_none_is_said() -> None:
    said = as_snakemake(Resources(partition="gpu", constraint="a100&nvlink"))
    assert (said["slurm_partition"], said["constraint"]) == ("gpu", "a100&nvlink")
    assert not {"slurm_partition", "constraint"} & set(as_snakemake(Resources()))


def test_rules_made_of_a_heavy_one_are_named_after_it() -> None:
    assert [heavy(rule) for rule in ("score", "score_fakes", "sample_variant")] == [
        "score",
        "score",
        "sample",
    ]
    assert heavy("data") is heavy("scored") is None


def test_memory_and_time_grow_to_twice_with_attempts_and_not_the_time_of_what_is_resumed() -> None:
    asked = as_snakemake(of_rule(TIER, "sample"))
    memory, time = ([asked[name](None, attempt=n) for n in (1, 2, 3, 9)] for name in ("mem_mb", "runtime"))
    assert (memory, time) == ([10_000, 15_000, 20_000, 20_000], [30, 45, 60, 60])
    training = as_snakemake(of_rule(TIER, "finetune"), resumed=True)
    assert training["runtime"] == 600 and training["mem_mb"](None, attempt=3) == 20_000


def test_gpus_are_a_nodes_and_processes_are_all() -> None:
    several = as_snakemake(of_rule(TIER, "finetune"))
    assert [several[name] for name in ("gres", "processes", "nodes", "mpi")] == ["gpu:8", 16, 2, "srun"]
    one, none = as_snakemake(TIER["default"]), as_snakemake(Resources())
    assert (one["gres"], one["processes"], one["nodes"]) == ("gpu:1", 1, 1) and "mpi" not in one
    assert "gres" not in none and none["processes"] == 1
    assert [asked["device"] for asked in (several, one, none)] == ["gpu:8", "gpu:1", "auto"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"fine-tune": Resources()}, r"section 'resources': 'fine-tune' is not one of: .*default.*finetune"),
        (
            {"sample": Resources(nodes=2)},
            r"key 'resources.sample.nodes': only 'finetune' and 'pretrain' compute on several",
        ),
    ],
)
def test_what_no_rule_can_take_is_refused(resources: dict[str, Resources], message: str) -> None:
    with pytest.raises(CCAError, match=message):
        check(resources)
