"""Published results: a page that says what its files say, small pictures, and what is refused."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cca.config import Tier, load_tier
from cca.errors import CCAError
from cca.evaluate.protocol import INCEPTION
from cca.files import sha256, write_json
from cca.records.lineage import File
from cca.records.provenance import SUFFIX, read_record, record_path
from cca.report import agreement, publish

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in REPOSITORY.glob("docs/results/*/README.md"))
TABLES, FIGURES, OTHERS = ("table2",), ("fig_beta",), ("claims", "pitfalls")


@pytest.fixture(scope="module")
def tier() -> Tier:
    """Smoke with one table, one figure, claims and pitfalls."""
    whole = load_tier("smoke", REPOSITORY / "workflow/config")
    kept = {"tables": {name: whole.tables[name] for name in TABLES}}
    kept["figures"] = {name: whole.figures[name] for name in FIGURES}
    return whole.model_copy(update={**kept, "theory": None})


def record(
    out: Path,
    started: str,
    inputs: list[Path],
    commit: str = "c0ffee",
    settings: dict | None = None,
    **measured: float,
) -> None:
    environment = {"device": "Abacus", "python": "3.14", "threads": 1, "packages": {"torch": "9.9"}}
    described = {"path": str(out), "sha256": sha256(out)}
    beside = {path.name: sha256(path) for path in out.parent.glob(f"{out.stem}.*") if path != out}
    entry = {"stage": out.parent.name, "started": started, "wall_seconds": 60, "output": described}
    entry |= {"beside": beside, "measured": measured, "settings": settings or {}}
    entry |= {"environment": environment, "code": {"version": "0.1", "commit": commit, "dirty": False}}
    paths = [{"path": str(path), "sha256": sha256(path)} for path in inputs]
    write_json(record_path(out), {**entry, "peak_memory_bytes": 2**20, "inputs": {"results": paths}})


@pytest.fixture
def results(tier: Tier, tmp_path: Path) -> Path:
    """Results of that tier, made up, all of one file of metrics, the figure also of a finetune's log."""
    folder = tmp_path / "results/smoke"
    for name in ("tables", "figures", *OTHERS, "m", "finetune", "stale"):
        (folder / name).mkdir(parents=True)
    for name in ("m", "stale"):
        (folder / name / "metrics.json").write_text("{}")
    (folder / "data").mkdir()
    (folder / "data/images.npz").write_text("images")
    counts = {"train": 1200, "heldout": 34, "classes": 2}
    data = tier.data.model_dump(mode="json") | {"root": "elsewhere"}
    record(folder / "data/images.npz", "2026-01-02T03:04:05+00:00", [], settings=data, **counts)
    read = [folder / "data/images.npz"]
    record(folder / "m/metrics.json", "2026-01-02T03:04:05+00:00", read, seconds_before=30)
    record(folder / "stale/metrics.json", "2020-01-01T00:00:00+00:00", [], commit="badbad")
    for name in ("model.log.csv", "model.safetensors"):
        (folder / "finetune" / name).touch()
    record(folder / "finetune/model.safetensors", "2026-01-02T03:04:05+00:00", [])
    rows = {"model": ["M", "N"], "source": "measured", "benchmark": "b", "fid": [12.3456, 7.0]}
    pd.DataFrame(rows | {"fid_std": [0.5, None]}).to_csv(folder / "tables/table2.csv", index=False)
    pd.DataFrame({"beta": [1]}).to_csv(folder / "figures/fig_beta.csv", index=False)
    noise = np.random.default_rng(0).integers(256, size=(600, 1600, 3), dtype=np.uint8)
    Image.fromarray(noise // 64 * 64).save(folder / "figures/fig_beta.png")
    (folder / "figures/fig_beta.pdf").write_text("pdf")
    claims = {"claim": ["x_helps"], "model": ["M"], "verdict": ["inconclusive"], "note": ["one seed"]}
    pd.DataFrame(claims).to_csv(folder / "claims/claims.csv", index=False)
    pd.DataFrame({"name": ["y"]}).to_csv(folder / "pitfalls/pitfalls.csv", index=False)
    (folder / "pitfalls/pitfalls.json").write_text("{}")
    for name in OTHERS:
        (folder / name / f"{name}.md").write_text(f"# {name}\n")
    settings = {
        "tables/table2.csv": tier.table("table2").model_dump(mode="json"),
        "figures/fig_beta.pdf": tier.figure("fig_beta").model_dump(mode="json"),
        "claims/claims.csv": tier.judged_claims().model_dump(mode="json"),
        "pitfalls/pitfalls.json": tier.measured_pitfalls().model_dump(mode="json"),
    }
    for made, given in settings.items():
        logs = [folder / "finetune/model.log.csv"] if made.startswith("figures") else []
        record(folder / made, "2026-01-03T00:00:00+00:00", [folder / "m/metrics.json", *logs], settings=given)
    return folder


@pytest.fixture
def published(tier: Tier, results: Path, tmp_path: Path) -> Path:
    out = tmp_path / "docs/smoke"
    assert publish.run(tier, name="smoke", results=results, out=out, note="Of a copy.") == sum(
        path.stat().st_size for path in out.iterdir()
    )
    return out


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_what_is_published_here_says_what_its_files_say(folder: Path) -> None:
    publish.check(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= publish.LIMIT
    assert sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) <= 3_000_000


def test_the_page_has_numbers_verdicts_pictures_and_where_they_come_from(published: Path) -> None:
    publish.check(published)
    page = (published / "README.md").read_text()
    assert re.search(r"\| M +\|.* 12.35 ± 0.5 +\|", page) and re.search(r"\| N +\|.* 7 +\|", page)
    assert re.search(r"\| x_helps +\| inconclusive \(one seed\) +\|", page)
    assert "from 2026-01-02 to 2026-01-03" in page and "2020" not in page  # of nothing but its own sources
    assert "\nOf a copy.\n" in page and "\nNot in this tier: Figure 1: " in page
    assert "| data | source mnist5k, 1,200 training and 34 held-out images of 2 classes, SHA-256 " in page
    assert "Abacus" in page and "commit c0ffee" in page and "torch 9.9" in page and "badbad" not in page
    assert re.search(r"\| m +\| 1 +\| 1.5 +\|", page)  # a job of 60 seconds, and 30 before it was resumed
    assert re.search(r"\| finetune +\| 1 +\| 1.0 +\|", page)  # whose log was read, not its model
    assert "snakemake results/table2.csv --config tier=smoke" in page
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {"table2.csv", "fig_beta.png", "claims.md", "pitfalls.md"} <= set(links)
    places = [REPOSITORY / "docs/results/mini" if link.startswith("../") else published for link in links]
    assert all((place / link).is_file() for place, link in zip(places, links, strict=True))


def test_a_picture_is_made_small_and_keeps_its_shape_and_colours(published: Path, results: Path) -> None:
    with Image.open(published / "fig_beta.png") as small:
        assert small.size == (publish.WIDTH, round(600 * publish.WIDTH / 1600))
    smooth = np.linspace(0, 255, 100 * 100 * 3).reshape(3, 100, 100).transpose(1, 2, 0).astype(np.uint8)
    many = results / "many.png"
    Image.fromarray(smooth ^ np.arange(100, dtype=np.uint8)[:, None, None]).save(many)
    with Image.open(many) as kept, Image.open(io.BytesIO(publish.shrunk(many))) as again:
        assert (np.asarray(kept) == np.asarray(again.convert("RGB"))).all()  # colours that matter stay
    flat = results / "flat.png"
    Image.new("RGB", (40, 30), (213, 94, 0)).save(flat)
    flat.write_bytes(publish.shrunk(flat))
    with Image.open(flat) as kept:
        assert kept.size == (40, 30) and kept.convert("RGB").getpixel((5, 5)) == (213, 94, 0)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("README.md", "12.35", "11.35", "README.md: its numbers are not those of its CSVs"),
        ("table2.csv", "12.3456", "11.3456", "README.md: its numbers are not those of its CSVs"),
        ("table2.csv", "12.3456", "12.3457", "table2.csv: changed after it was published"),
        ("claims.md", "# claims", "# all claims hold", "claims.md: changed after it was published"),
    ],
)
def test_a_changed_page_is_refused(published: Path, name: str, old: str, new: str, message: str) -> None:
    text = (published / name).read_text()
    assert old in text
    (published / name).write_text(text.replace(old, new))
    with pytest.raises(CCAError) as error:
        publish.check(published)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_too_many_or_too_few_is_refused(published: Path) -> None:
    (published / "more.png").touch()
    with pytest.raises(CCAError, match=r"more.png is missing or not of this page"):
        publish.check(published)
    (published / "more.png").unlink()
    (published / "table2.csv").unlink()
    with pytest.raises(CCAError, match=r"table2.csv is missing or not of this page"):
        publish.check(published)


def test_publishing_again_leaves_nothing_old(tier: Tier, results: Path, published: Path) -> None:
    (published / "old.csv").touch()
    publish.run(tier, name="smoke", results=results, out=published)
    publish.check(published)
    assert [path.name for path in published.parent.iterdir()] == ["smoke"]


def test_what_cannot_be_published_leaves_the_older_page(
    tier: Tier, results: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (published / "README.md").read_text()

    def refused(message: str) -> None:
        with pytest.raises(CCAError, match=message) as error:
            publish.run(tier, name="smoke", results=results, out=published)
        assert "\n" not in str(error.value) and (published / "README.md").read_text() == before
        assert [path.name for path in published.parent.iterdir()] == ["smoke"]

    with monkeypatch.context() as patch:
        patch.setattr(publish, "LIMIT", 1000)
        refused(r"bytes, but at most 1000 may be published")
    table = results / "tables/table2.csv"
    table.write_text(table.read_text().replace("12.3456", "2.3456"))
    refused(r"table2.csv: not what its stage wrote")
    table.write_text(table.read_text().replace("2.3456", "12.3456"))
    picture = results / "figures/fig_beta.png"
    picture.write_bytes(picture.read_bytes() + b"more")
    refused(r"fig_beta.png: not what its stage wrote")
    table.unlink()
    refused(r"table2.csv: not made yet; run 'snakemake results/table2.csv --config tier=smoke' first")
    record_path(picture).unlink()
    refused(r"table2.csv: not made yet \(and 1 more\); run 'snakemake --config tier=smoke' first")


def test_an_artefact_older_than_what_it_was_made_of_is_refused(
    tier: Tier, results: Path, tmp_path: Path
) -> None:
    metrics = results / "m/metrics.json"
    metrics.write_text('{"fid": 1}')
    with pytest.raises(CCAError, match=r"m/metrics.json: not what its record says; delete it"):
        publish.run(tier, name="smoke", results=results, out=tmp_path / "docs/smoke")
    record(metrics, "2026-01-04T00:00:00+00:00", [results / "data/images.npz"])
    with pytest.raises(CCAError, match=r"m/metrics.json: made again since; have snakemake make again"):
        publish.run(tier, name="smoke", results=results, out=tmp_path / "docs/smoke")


def test_what_was_deleted_to_save_room_has_its_record_still(
    tier: Tier, results: Path, tmp_path: Path
) -> None:
    (results / "data/images.npz").unlink()
    publish.run(tier, name="smoke", results=results, out=tmp_path / "docs/smoke")
    assert "source mnist5k" in (tmp_path / "docs/smoke/README.md").read_text()
    record_path(results / "data/images.npz").unlink()
    with pytest.raises(CCAError, match=r"data/images.npz: missing; put back what was read"):
        publish.run(tier, name="smoke", results=results, out=tmp_path / "docs/smoke")


def test_nothing_but_a_published_page_is_replaced(tier: Tier, results: Path, tmp_path: Path) -> None:
    other, file = tmp_path / "docs/smoke", tmp_path / "docs/file"
    (other / "mine").mkdir(parents=True)
    (tmp_path / "docs/page").mkdir()
    (tmp_path / "docs/page/provenance.json").write_text('{"config": "tier=smoke preset=gpu"}')
    file.touch()
    before = sorted(tmp_path.rglob("*"))
    for out, message in (
        (results, "would take the place of the results"),
        (results.parent, "would take the place of the results"),
        (other, "there already, and no published page"),
        (file, "there already, and no published page"),
        (tmp_path / "docs/page", "the page of 'tier=smoke preset=gpu', not of 'tier=smoke'"),
    ):
        with pytest.raises(CCAError, match=message):
            publish.run(tier, name="smoke", results=results, out=out)
    assert sorted(tmp_path.rglob("*")) == before


def test_results_of_other_settings_are_refused(tier: Tier, results: Path, tmp_path: Path) -> None:
    other_figure = tier.figures["fig_beta"].model_copy(update={"seeds": [7]})
    for change, message in (
        (
            {"data": tier.data.model_copy(update={"seed": 7})},
            r"images.npz: not made with .* 'smoke': 'seed' is",
        ),
        ({"benchmark": "other"}, r"table2.csv: not made with the settings of tier 'smoke': 'benchmark' is"),
        ({"figures": {"fig_beta": other_figure}}, r"fig_beta.csv: not made with .*: 'content' is"),
        (
            {"pitfalls": tier.pitfalls.model_copy(update={"splits": 3})},
            r"pitfalls.csv: not made with .* 'evaluation'",
        ),
        (
            {"preset": "gpu", "benchmark": "other"},
            r"of tier 'smoke' and preset 'gpu': 'benchmark' is another",
        ),
    ):
        with pytest.raises(CCAError, match=message):
            changed = tier.model_copy(update=change)
            publish.run(changed, name="smoke", results=results, out=tmp_path / "docs/smoke")
    assert not (tmp_path / "docs/smoke").exists()


def test_a_setting_that_only_refuses_may_be_another(tier: Tier, tmp_path: Path) -> None:
    def given(**changes: float) -> File:
        settings = tier.classifier.model_copy(update=changes).model_dump(mode="json")
        place = tmp_path / "features/classifier.safetensors"
        return File(str(place), place, {"output": {"path": str(place)}, "settings": settings})

    agreement.check(tier, "smoke", tmp_path, [given(), given(minimum_accuracy=0.01)])
    with pytest.raises(CCAError, match=r"classifier.safetensors: not made with .*: 'seed' is another"):
        agreement.check(tier, "smoke", tmp_path, [given(seed=7)])


def test_every_part_of_a_tier_is_held_against_its_settings(finished: Path) -> None:
    made = finished / "results/smoke"
    whole = load_tier("smoke", REPOSITORY / "workflow/config")
    expected = agreement.expected(whole)
    for path, settings in expected.items():
        if (made / path).exists():
            given = read_record(record_path(made / path))["settings"]
            assert given == settings.model_dump(mode="json"), path
    held = {record_path(made / path) for path in expected}
    others = {str(path.relative_to(made)) for path in set(made.rglob(f"*{SUFFIX}")) - held}
    assert others == {  # what follows from its inputs
        f"{name}{SUFFIX}" for name in ("data/heldout", "overview", "tokenizers/vq/codes")
    }


def test_imported_weights_and_inceptions_numbers_are_held_too(tmp_path: Path) -> None:
    paper = load_tier("paper", REPOSITORY / "workflow/config")
    held = agreement.expected(paper)
    imported = [name for name, entry in paper.finetunes.items() if entry.imported]
    wanted = {e.checkpoint for e in paper.experiments() if e.finetune in ["base", *imported]}
    assert imported and {str(path) for path in wanted} <= set(held)
    both = {"evaluation": {"inception": "download"}}
    held = agreement.expected(load_tier("cifar10", REPOSITORY / "workflow/config", both))
    names = {path for path in held if path.endswith(("inception.json", "inception.npz"))}
    assert {"reference/inception.npz", "external/heldout/inception.json"} < names
    assert {held[path].extractor for path in names} == {INCEPTION}


def test_the_record_beside_the_page_is_plain_json_with_a_checksum_of_every_file(published: Path) -> None:
    about = json.loads((published / "provenance.json").read_text())
    assert about["files"]["table2.csv"] == sha256(published / "table2.csv")
    assert {"first", "last", "machines", "software", "commits", "stages"} <= set(about)
