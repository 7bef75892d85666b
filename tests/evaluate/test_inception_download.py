"""Inception's weights where torch-fidelity keeps them; how a download fails is in `test_fetch.py`."""

import hashlib
from pathlib import Path

import pytest
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from cca.errors import CCAError
from cca.evaluate import inception


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def test_they_are_downloaded_once(monkeypatch: pytest.MonkeyPatch, hub: Path) -> None:
    def download(url: str, out: Path, expected: str) -> None:
        assert (url, expected) == (URL_INCEPTION_V3, checksum)
        out.parent.mkdir(parents=True)
        out.write_bytes(b"weights")
        downloads.append(out)

    downloads: list[Path] = []
    checksum = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(inception, "INCEPTION_SHA256", checksum)
    monkeypatch.setattr(inception, "download", download)
    for _ in range(2):
        assert inception.published_weights() == hub / URL_INCEPTION_V3.rpartition("/")[2]
    assert len(downloads) == 1 and list(hub.iterdir()) == downloads


def test_other_weights_in_their_place_are_refused(hub: Path) -> None:
    hub.mkdir(parents=True)
    path = hub / URL_INCEPTION_V3.rpartition("/")[2]
    path.write_bytes(b"weights")
    with pytest.raises(CCAError, match="damaged, or not the published weights; delete it") as error:
        inception.published_weights()
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_failure_names_the_other_ways(monkeypatch: pytest.MonkeyPatch, hub: Path) -> None:
    monkeypatch.setattr(inception, "download", fail)
    with pytest.raises(CCAError) as error:
        inception.published_weights()
    path = hub / URL_INCEPTION_V3.rpartition("/")[2]
    assert str(error.value) == f"no network; or give Inception's weights as a file, or put it at {path}"


def fail(*_: object) -> None:
    raise CCAError("no network")


def test_they_are_torch_fidelitys_and_their_checksum_begins_as_the_name_says() -> None:
    assert inception.INCEPTION_URL == URL_INCEPTION_V3
    assert URL_INCEPTION_V3.endswith(f"-{inception.INCEPTION_SHA256[:8]}.pth")
