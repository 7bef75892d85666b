"""Size presets: which one is taken, in which order values win, and what is refused."""

from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from cca import presets
from cca.cli import app
from cca.config import load_tier
from cca.errors import CCAError
from cca.presets import check_cluster, check_machine, settle, take

FOLDER = Path(__file__).parents[1] / "workflow/config"
FILE = {
    "a": {"b": 1, "c": 1},
    "d": 1,
    "presets": {"cpu": {"a": {"b": 2}}, "gpu": {"a": {"b": 3, "e": 3}, "d": [3]}},
}


@pytest.fixture(params=[False, True])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(presets, "pick", lambda: torch.device("cuda" if request.param else "cpu"))
    return request.param


def test_auto_follows_the_machine_and_a_name_does_not(gpu: bool) -> None:
    assert take(FILE, {})["preset"] == take(FILE, {"preset": "auto"})["preset"] == ("gpu" if gpu else "cpu")
    assert take(FILE, {"preset": "gpu"})["preset"] == take(FILE | {"preset": "gpu"}, {})["preset"] == "gpu"
    assert take(FILE | {"preset": "gpu"}, {"preset": "cpu"})["preset"] == "cpu"


def test_the_preset_is_merged_over_the_file_and_under_the_overrides() -> None:
    assert take(FILE, {"preset": "cpu"}) == {"a": {"b": 2, "c": 1}, "d": 1, "preset": "cpu"}
    overrides = {"preset": "gpu", "a": {"b": 4}}
    assert take(FILE, overrides) == {"a": {"b": 4, "c": 1, "e": 3}, "d": [3], "preset": "gpu"}


def test_a_tier_without_presets_is_as_it_was() -> None:
    assert take({"a": {"b": 1, "c": 1}}, {"a": {"b": 2}}) == {"a": {"b": 2, "c": 1}}
    assert load_tier("mini", FOLDER).preset is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"preset": "tpu"}, "key 'preset': 'tpu' is not one of: auto, cpu, gpu"),
        ({"preset": ["cpu"]}, "key 'preset': '['cpu']' is not one of"),
        ({"preset": "cpu", "presets": None}, "key 'preset': 'cpu', but this tier has no presets"),
        ({"presets": {"cpu": {}}}, "key 'presets': two mappings are wanted, 'cpu' and 'gpu'"),
        ({"preset": "cpu", "presets": {"cpu": 1, "gpu": {}}}, "key 'presets.cpu': a mapping of sections"),
        ({"preset": "gpu", "presets": {"cpu": {}, "gpu": {"preset": "cpu"}}}, "key 'presets.gpu': a mapping"),
        ({"preset": "cpu", "presets": {"cpu": {"modell": 1}, "gpu": {}}}, "unknown key 'modell'"),
    ],
)
def test_refusals_are_one_line_that_names_the_file(overrides: dict, message: str, tmp_path: Path) -> None:
    values = yaml.safe_load((FOLDER / "mini.yaml").read_text()) | {"presets": {"cpu": {}, "gpu": {}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CCAError) as error:
        load_tier("own", tmp_path, overrides)
    text = str(error.value)
    assert text.startswith(f"{tmp_path}/own.yaml with overrides: ") and message in text and "\n" not in text


def test_a_gpu_preset_without_a_gpu_can_be_read_but_not_run(gpu: bool) -> None:
    take(FILE, {"preset": "gpu"})
    check_machine(None)
    check_machine("cpu")
    if gpu:
        check_machine("gpu")
    else:
        with pytest.raises(CCAError, match="preset 'gpu' wants a GPU, and torch sees none here"):
            check_machine("gpu")


def test_a_cluster_wants_the_preset_by_name() -> None:
    check_cluster(None, None)
    check_cluster("gpu", "gpu")
    for given in (None, "auto"):
        with pytest.raises(CCAError, match="give --config preset=cpu or preset=gpu"):
            check_cluster("gpu", given)


def test_the_printed_tier_says_its_preset_and_loads_as_the_same_sizes(tmp_path: Path) -> None:
    for preset in ("cpu", "gpu"):
        run = CliRunner().invoke(app, ["config", "cifar10", "--folder", str(FOLDER), "--preset", preset])
        assert run.exit_code == 0 and run.output.startswith(f"# preset: {preset}\n")
        (tmp_path / "again.yaml").write_text(run.output)
        shown = load_tier("again", tmp_path).model_dump()
        assert shown == load_tier("cifar10", FOLDER, {"preset": preset}).model_dump()


def test_results_of_one_preset_are_made_anew_by_another_only_if_that_is_named(tmp_path: Path) -> None:
    results = tmp_path / "results/tier"
    settle(None, None, results)
    assert not results.exists()
    settle("gpu", None, results)
    settle("gpu", "auto", results)
    message = r"tier was last run with preset 'gpu', and this run takes 'cpu': give --config preset=gpu"
    for given in (None, "auto"):
        with pytest.raises(CCAError, match=message):
            settle("cpu", given, results)
    settle("cpu", "cpu", results)
    settle("cpu", None, results)
    with pytest.raises(CCAError, match="'cpu', and this run takes 'gpu'"):
        settle("gpu", None, results)
    for damaged in ("{}", "null", '{"preset": "tpu"}'):
        (results / "preset.json").write_text(damaged)
        with pytest.raises(CCAError, match=r"preset\.json: names neither preset; delete it and give"):
            settle("cpu", "cpu", results)
