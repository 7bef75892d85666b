"""Tier files: the shipped ones are valid; what is not is one line naming file, key and what is allowed."""

from pathlib import Path

import pytest
import yaml

from cca.config import load_tier, merge, nulls
from cca.errors import CCAError
from cca.experiments import Experiment

FOLDER = Path(__file__).parents[1] / "workflow/config"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_shipped_tiers_are_valid(name: str) -> None:
    tier = load_tier(name, FOLDER)
    used = {experiment.finetune for experiment in tier.experiments()}
    assert {"base", *tier.finetunes} == used  # nothing is declared in vain


def test_experiments_are_declared_once_and_the_base_model_is_shared_by_seeds() -> None:
    tier = load_tier("mini", FOLDER)
    experiments = tier.experiments()
    assert len(set(experiments)) == len(experiments)
    base = {e.checkpoint for e in experiments if e.finetune == "base" and e.model == "llamagen-s"}
    assert len(base) == 1


def test_paths_of_an_experiment() -> None:
    experiment = Experiment("llamagen-s", "cca_lambda=1", 2, 0.5)
    assert experiment.checkpoint == Path("llamagen-s/cca_lambda=1/seed=2/model.safetensors")
    assert experiment.metrics == Path("llamagen-s/cca_lambda=1/seed=2/s=0.5/metrics.json")
    assert Experiment("m", "base", 0, 0).metrics == Experiment("m", "base", 0, 0.0).metrics


def test_the_scale_of_an_experiment_reaches_the_sampler_and_nothing_else_changes() -> None:
    tier = load_tier("mini", FOLDER)
    plain, guided = tier.sampling("llamagen-s", 0), tier.sampling("llamagen-s", 2.0)
    assert (plain.guidance.scale, guided.guidance.scale) == (0, 2.0)
    assert guided.model_dump(exclude={"guidance"}) == plain.model_dump(exclude={"guidance"})


def test_overrides_are_merged_leaf_by_leaf() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2, 3]}) == {
        "a": {"b": 1, "c": 3},
        "d": [2, 3],
    }


def test_null_is_nothing_as_snakemake_gives_it_too() -> None:
    assert nulls({"a": {"b": "null"}, "c": ["null", {"d": "null"}, 1]}) == {
        "a": {"b": None},
        "c": [None, {"d": None}, 1],
    }
    paper = load_tier("paper", FOLDER, {"data": {"expected": "null"}})
    assert paper.data.expected is None


CLAIMS = {"model": "llamagen-s"}
COMBINED = {"finetune": "cca_lambda=1", "scales": [1]}
LATE = {"start": 100_000, "optimisation": {"learning_rate": 1}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pitfalls": {"seeds": [0]}}, "key 'pitfalls.seeds': List should have at least 2 items"),
        ({"pitfalls": {"seeds": [1, 1]}}, "key 'pitfalls.seeds': [1, 1] are not different from each other"),
        ({"pitfalls": {"model": "gpt"}}, "an experiment names the model 'gpt', not one of: "),
        ({"pitfalls": {"sampling": {"x": {"topk": 1}}}}, "pitfalls.sampling.x: unknown key 'topk'"),
        ({"pitfalls": {"sampling": {"samples": {}}}}, "pitfalls.sampling: the name 'samples' is taken"),
        ({"pitfalls": {"sampling": {"a/b": {}}}}, "pitfalls.sampling: the name 'a/b' may hold letters"),
        ({"theory": None}, "section 'theory' is missing, which the figure 'fig_theory' is made of"),
        (
            {"figures": {"fig_theory": {"beta": 0.3}}},
            "fig_theory draws a path of {'method': 'cca', 'beta': 0.3",
        ),
        ({"pitfalls": None}, "section 'pitfalls' is missing, which the figure 'fig_pitfalls' is made of"),
        ({"sede": 1}, "unknown key 'sede'; allowed keys: benchmark, claims, "),
        ({"data": {"chanels": 1}}, "unknown key 'data.chanels'; allowed keys: channels, "),
        ({"data": {"channels": 2}}, "key 'data.channels': Input should be 1 or 3, got 2"),
        (
            {"data": {"heldout_fraction": "half"}},
            "key 'data.heldout_fraction': Input should be a valid number",
        ),
        (
            {"models": {"llamagen-s": {"tokenizer": "vqq"}}},
            "key 'models.llamagen-s.tokenizer': 'vqq' is not one of: vq",
        ),
        (
            {"models": {"llamagen-s": {"sampling": {"guidance": {"scale": 1}}}}},
            "sampling.guidance.scale is set by the experiments",
        ),
        (
            {"finetunes": {"a,b": {"objective": {"name": "dpo"}}}},
            "finetunes: the name 'a,b' may hold letters, digits",
        ),
        ({"finetunes": {"base": {"objective": {"name": "dpo"}}}}, "finetunes: the name 'base' is taken"),
        ({"finetunes": {"dpo": {"objective": {"lam": 1}}}}, "unknown key 'lam'; allowed keys: beta"),
        ({"tables": {"table9": {}}}, "'table9' is not one of the tables: table2, table3, tokenizers"),
        ({"tables": {"table3": {"seeds": []}}}, "key 'seeds': List should have at least 1 item"),
        (
            {"tables": {"table2": {"measured": [{"model": "gpt"}]}}},
            "an experiment names the model 'gpt', not one of: llamagen-s, ",
        ),
        (
            {"tables": {"table2": {"measured": [{"model": "llamagen-s", "finetune": "x"}]}}},
            "an experiment names the finetune 'x', not one of: base, ",
        ),
        (
            {"models": {"llamagen-s": {"pretraining": {"family": "gpt"}}}},
            "'gpt' is not one of the models: llamagen, ",
        ),
        (
            {"models": {"llamagen-s": {"pretraining": {"architecture": {"dim": 98}}}}},
            "dim 98 is not divisible by heads",
        ),
        (
            {"data": {"image_size": 32}},
            "'tokenizers.vq.architecture.image_size' is 28, but 'data.image_size' is 32",
        ),
        (
            {"resources": {"finetune": {"gpus": 4}}},
            "key 'models.llamagen-s.finetuning.batch_size': 250 does not divide among the 4 "
            "processes of rule 'finetune'",
        ),
        (
            {"resources": {"pretrain": {"gpus": 5, "nodes": 2}}},
            "key 'models.llamagen-s.pretraining.batch_size': 96 does not divide among the 10 "
            "processes of rule 'pretrain'",
        ),
        ({"evaluation": {"reference": "adm.npz"}}, "key 'evaluation.reference': adm.npz: no such file"),
        ({"evaluation": {"reference": "ftp://a/b.npz"}}, "only https URLs are fetched"),
        (
            {"data": {"source": "mnist"}},
            "key 'data.source': 'mnist' is not one of: cifar10, folder, imagenet, mnist5k",
        ),
        ({"models": {"var-s": {"tokenizer": "vq"}}}, "var needs a tokenizer of kind 'multiscale', not 'vq'"),
        ({"models": {"var-s": {"title": "LlamaGen-S"}}}, "the title 'LlamaGen-S' is given to two models"),
        ({"shards": 0}, "key 'shards': Input should be greater than or equal to 1, got 0"),
        ({"models": {"llamagen-s": {"pairs": {"visits": "many"}}}}, "models.llamagen-s.pairs.visits"),
        ({"shards": 1000}, "key 'shards': 1000, but models.llamagen-s.sampling has 20 batches"),
        (
            {"figures": {"fig4_lambda_sweep": {"seeds": [-1]}}},
            "key 'seeds.0': Input should be greater than or equal to 0",
        ),
        (
            {"finetunes": {"dpo": {"mask_rate": 1e-5}}},
            "a mask rate is 1e-05: it must be 0 or more, with at most six",
        ),
        (
            {"tables": {"table2": {"measured": [{"model": "llamagen-s", "cfg_scale": 0.12345678}]}}},
            "a guidance scale is 0.12345678",
        ),
        (
            {"evaluation": {"extractor": "cca-inception"}},
            "section 'classifier' goes with evaluation.extractor",
        ),
        (
            {"evaluation": {"weights": "w.pth"}},
            "key 'evaluation.weights' is not for the extractor 'cca-classifier'",
        ),
        (
            {"classifier": None, "evaluation": {"extractor": "cca-inception", "weights": "none.pth"}},
            "key 'evaluation.weights': none.pth: no such file",
        ),
        ({"evaluation": {"inception": "w.pth"}}, "key 'evaluation.inception': w.pth: no such file"),
        (
            {
                "classifier": None,
                "evaluation": {"extractor": "cca-inception", "inception": "download"},
            },
            "with Inception as extractor FID is Inception's already; remove the key",
        ),
        (
            {"evaluation": {"inception": "download", "reference": {"url": "https://a.org/b.npz"}}},
            "key 'evaluation.inception' wants a reference batch that is made of the images",
        ),
        ({"classifier": {"architecture": {"spatial_stage": 9}}}, "spatial_stage 9 is not one of 3 stages"),
        (
            {"tokenizers": {"vq": {"training": {"perceptual": 1}}}},
            "section 'perceptual' goes with tokenizers.*.training.perceptual",
        ),
        (
            {
                "tokenizers": {"vq": {"training": {"perceptual": 1}}},
                "classifier": {"share": [0, 0.8]},
                "perceptual": {
                    "share": [0.7, 1],
                    "training": {"steps": 1, "batch_size": 2, "optimisation": {"learning_rate": 1}},
                },
            },
            "perceptual.share [0.7, 1.0] overlaps classifier.share [0.0, 0.8]",
        ),
        ({"tables": None}, "key 'tables': a mapping is wanted; {} for none"),
        ({"tables": {"table3": {"seeds": [0, 0]}}}, "key 'seeds': [0, 0] are not different from each other"),
        (
            {"resources": {"sample": {"gpus": 2}}},
            "key 'resources.sample.gpus': 2, but it computes on one GPU",
        ),
        ({"resources": {"data": {"gpus": 1}}}, "key 'resources.data.gpus': 1, but it computes on no GPU"),
        (
            {"claims": {"models": [CLAIMS | {"cfg_sweep": [1, 0]}]}},
            "cfg_sweep: the values of a sweep must rise",
        ),
        (
            {"claims": {"models": [CLAIMS | {"lambda_sweep": ["cca_lambda=1", "cca_lambda=0.3"]}]}},
            "lambda_sweep cca_lambda=1, cca_lambda=0.3: the values of a sweep must rise, and these are [1.0",
        ),
        (
            {"claims": {"models": [CLAIMS | {"beta_sweep": ["sft"]}]}},
            "beta_sweep sft: the values of a sweep must rise, and these are [None]",
        ),
        (
            {"claims": {"models": [CLAIMS | {"combined": COMBINED | {"unmasked": "cca_lambda=3"}}]}},
            "'cca_lambda=1' and 'cca_lambda=3' differ in their objectives",
        ),
        (
            {"tokenizers": {"vq": {"training": {"adversarial": LATE}}}},
            "adversarial.start 100000 is not below steps",
        ),
        (
            {"theory": {"paths": {"rates": {"even": -1}}}},
            "key 'theory.paths.rates.even': Input should be great",
        ),
        (
            {"models": {"llamagen-s": {"finetuning": {"optimisation": {"betas": [0.9, 1]}}}}},
            "finetuning.optimisation.betas.1': Input should be less than 1",
        ),
        (
            {"tokenizers": {"vq": {"architecture": {"codebook": 3}}}},
            "unknown key 'codebook'; allowed keys: ",
        ),
        (
            {"classifier": {"architecture": {"pool_size": 9}}},
            "key 'classifier.architecture': classifier: 3 stages leave 28 px less than pool_size 9",
        ),
        (
            {"tokenizers": {"vq": {"training": {"adversarial": LATE | {"start": 0, "layers": 5}}}}},
            "key 'tokenizers.vq.training': adversarial: layers 5 leave no patch of images of 28 px",
        ),
    ],
)
def test_refusals(overrides: dict, message: str) -> None:
    with pytest.raises(CCAError) as error:
        load_tier("mini", FOLDER, overrides)
    text = str(error.value)
    assert text.startswith(f"{FOLDER}/mini.yaml with overrides: ") and message in text and "\n" not in text


def test_weights_of_an_extractor_that_the_dag_does_not_train(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.touch()
    evaluation = {"extractor": "cca-inception", "weights": str(weights)}
    tier = load_tier("mini", FOLDER, {"classifier": None, "evaluation": evaluation})
    assert tier.evaluation.weights == weights
    assert load_tier("mini", FOLDER).evaluation.weights is None


def test_files_that_are_no_tier(tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=r"tier 'huge' is not one of: .*mini"):
        load_tier("huge", FOLDER)
    with pytest.raises(CCAError, match="no tier files there; run this in the repository"):
        load_tier("mini", tmp_path)
    (tmp_path / "a.yaml").write_text("a: [1")
    with pytest.raises(CCAError, match=r"a.yaml: not valid YAML") as error:
        load_tier("a", tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "b.yaml").write_text("data: 1\ndata: 2\n")
    with pytest.raises(CCAError, match=r"b.yaml: .*key 'data' is given twice"):
        load_tier("b", tmp_path)
    (tmp_path / "c.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(CCAError, match="not valid YAML"):
        load_tier("c", tmp_path)
    (tmp_path / "d.yaml").write_text("- 1")
    with pytest.raises(CCAError, match=r"d.yaml: "):
        load_tier("d", tmp_path)


def test_a_dumped_tier_loads_as_itself(tmp_path: Path) -> None:
    tier = load_tier("mini", FOLDER)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(tier.model_dump(mode="json")))
    assert load_tier("again", tmp_path) == tier


@pytest.mark.parametrize("section", ["tokenizers", "models", "finetunes", "external"])
@pytest.mark.parametrize("name", ["..", ".", "a/b", "/a"])
def test_names_of_a_tier_are_no_paths(section: str, name: str) -> None:
    values = yaml.safe_load((FOLDER / "smoke.yaml").read_text())[section]
    with pytest.raises(CCAError, match="letters, digits and"):
        load_tier("smoke", FOLDER, {section: {name: next(iter(values.values()))}})


def test_a_tier_is_a_file_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text((FOLDER / "smoke.yaml").read_text())
    (tmp_path / "config").mkdir()
    (tmp_path / "config/inside.yaml").touch()
    with pytest.raises(CCAError, match=r"tier '../outside' is not one of"):
        load_tier("../outside", tmp_path / "config")
