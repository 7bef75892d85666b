"""Downloading from a Hub on this machine: commits, checksums, and what it answers otherwise."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from cca.errors import CCAError
from cca.files import fetch
from cca.settings import validate
from cca.stages import download

COMMIT = "c" * 40
WEIGHTS = b"weights" * 1000
FILE = {"hub": "ChenDRAG/CCA_VAR", "file": "CCA_VAR_Guidance_Free/VAR_d16_CCA.pth"}


class Hub(ThreadingHTTPServer):
    """One repository with one file in Git LFS."""

    content = WEIGHTS

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        if not self.path.endswith(FILE["file"]):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(self.server.content).hexdigest()}"')
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()

    def do_GET(self) -> None:
        if "/resolve/" in self.path:
            self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    with Hub() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        here = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", here)
        template = f"{here}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running
        running.shutdown()


def run(out: Path, **changes: str) -> dict:
    return download.run(validate(download.HubFile, FILE | changes, "test"), out=out)


def test_the_file_of_the_commit_that_a_branch_is_at(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "a/b.pth"
    assert run(out) == {"sha256": hashlib.sha256(WEIGHTS).hexdigest(), "commit": COMMIT}
    assert out.read_bytes() == WEIGHTS
    assert hub.asked == [f"/ChenDRAG/CCA_VAR/resolve/{COMMIT}/{FILE['file']}"]


def test_the_first_use_holds(hub: Hub, tmp_path: Path) -> None:
    """Another file under the same revision is refused before its bytes are fetched."""
    run(tmp_path / "b.pth")
    hub.content, hub.asked = b"other", []
    with pytest.raises(CCAError, match=r"@main: the Hub's file has SHA-256 \w+, not \w+ as before"):
        run(tmp_path / "b.pth")
    assert not hub.asked and (tmp_path / "b.pth").read_bytes() == WEIGHTS
    run(tmp_path / "b.pth", revision="v2")  # another revision is another file


def test_bytes_that_are_not_those_the_hub_publishes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_head(url: str, *arguments: object) -> str:
        hub.content = b"garbled"
        return fetch.download(url, *arguments)

    monkeypatch.setattr(download, "download", after_head)
    with pytest.raises(CCAError, match=r"its SHA-256 is .*: another file than was wanted"):
        run(tmp_path / "b.pth")
    assert list(tmp_path.iterdir()) == []


def test_what_the_hub_does_not_have(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=r"ChenDRAG/CCA_VAR/none.pth@main: not on the Hub; check") as error:
        run(tmp_path / "b.pth", file="none.pth")
    assert "\n" not in str(error.value)


def test_a_hub_that_does_not_answer(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "http://127.0.0.1:1/{repo_id}/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(
        CCAError, match=r"the Hub does not answer \(.*\); try again, or put the file at .*b.pth"
    ):
        run(tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [("hub", "VAR"), ("hub", "a/.."), ("file", "../x.pth"), ("file", "/x.pth"), ("revision", "refs/../x")],
)
def test_names_that_are_none(key: str, value: str) -> None:
    """Also because they are parts of paths here."""
    with pytest.raises(CCAError, match=f"key '{key}'"):
        validate(download.HubFile, FILE | {key: value}, "test")
