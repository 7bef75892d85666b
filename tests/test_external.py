"""Section ``external`` of a tier: what it may say, and the documented one."""

import re
from pathlib import Path

import pandas as pd
import pytest

from cca.config import load_tier
from cca.errors import CCAError
from cca.external import External
from cca.files import parse_yaml
from cca.settings import validate

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "workflow/config"
ADM = {"file": "https://a.org/b.npz", "model": "ADM", "type": "Diffusion", "guidance": False}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file": "http://a.org/b.npz"}, "key 'external.adm.file': only https URLs are fetched; get the"),
        ({"file": "ftp://a.org/b.npz"}, "key 'external.adm.file': only https URLs are fetched"),
        ({"file": "pictures"}, "key 'external.adm.file': a path must name one .npz file; save a folder's"),
        ({"file": "none.npz"}, "key 'external.adm.file': none.npz: no such file"),
        (
            {"reported": "ADMM"},
            "table2.csv: no row of 'ADMM', which a system of 'external' names as reported",
        ),
        ({"file": ""}, "key 'external.adm.file': String should have at least 1 character"),
        ({"sha256": "12"}, "key 'external.adm.sha256': String should match pattern"),
        ({"guidance": "strong"}, "key 'external.adm.guidance': Input should be a valid boolean"),
        ({"parameters": 0}, "key 'external.adm.parameters': Input should be greater than or equal to 1"),
        ({"scale": 1}, "unknown key 'external.adm.scale'"),
    ],
)
def test_refusals(entry: dict, message: str) -> None:
    with pytest.raises(CCAError) as error:
        load_tier("mini", FOLDER, {"external": {"adm": ADM | entry}})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("key", sorted(ADM))
def test_what_every_entry_must_say(key: str) -> None:
    entry = {name: value for name, value in ADM.items() if name != key}
    with pytest.raises(CCAError, match=f"key 'external.adm.{key}' is missing"):
        load_tier("mini", FOLDER, {"external": {"adm": entry}})


def test_names_that_paths_cannot_hold() -> None:
    with pytest.raises(CCAError, match="external: the name 'a,b' may hold letters, digits"):
        load_tier("mini", FOLDER, {"external": {"a,b": ADM}})
    with pytest.raises(CCAError, match="models: the name 'external' is taken"):
        models = parse_yaml((FOLDER / "mini.yaml").read_text(), "mini")["models"]
        load_tier("mini", FOLDER, {"models": {"external": models["var-s"] | {"title": "E"}}})


def test_urls_are_fetched_and_paths_are_not() -> None:
    here = External(**ADM | {"file": "{results}/data/x.npz"})
    assert here.download is None and here.path(Path("results/mini")) == "results/mini/data/x.npz"
    away = External(**ADM, sha256="AB" * 32)
    assert away.path(Path("results/mini")) == away.download.url == ADM["file"]
    assert away.download.sha256 == "ab" * 32


def test_only_table_2_depends_on_them() -> None:
    plain, more = load_tier("mini", FOLDER), load_tier("mini", FOLDER, {"external": {"adm": ADM}})
    assert plain.table("table2") != more.table("table2")
    assert plain.table("table3") == more.table("table3")
    assert plain.figure("fig4_lambda_sweep") == more.figure("fig4_lambda_sweep")


def test_the_section_in_the_docs_is_valid_and_names_reported_rows() -> None:
    text = (REPOSITORY / "docs/external.md").read_text()
    entries = parse_yaml(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1], "docs")["external"]
    systems = [validate(External, entry, name) for name, entry in entries.items()]
    reported = pd.read_csv(REPOSITORY / "workflow/resources/reported/table2.csv").set_index("model")["type"]
    beside = [system for system in systems if system.reported]
    assert len(beside) >= 2 and all(reported[system.reported] == system.type for system in beside)
