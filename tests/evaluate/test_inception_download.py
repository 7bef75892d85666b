"""Every way in which the download of Inception's weights fails is one line, and leaves nothing behind."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cca.errors import CCAError
from cca.evaluate import inception
from cca.evaluate.inception import published_weights

CONTENT = b"weights" * 100
HEADER = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A server that gives every request the same answer, or none; its port."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(20)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloads; no proxy; little patience."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(inception, "PATIENCE", 0.5)
    monkeypatch.setattr(inception, "PUBLISHED", hashlib.sha256(CONTENT).hexdigest()[:8])
    return tmp_path / "hub" / "checkpoints"


def download(monkeypatch: pytest.MonkeyPatch, answer: bytes | None) -> Path:
    with answering(answer) as port:
        monkeypatch.setattr(inception, "URL_INCEPTION_V3", f"http://127.0.0.1:{port}/weights.pth")
        return published_weights()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "timed out"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP Error 404: Not Found"),
        (HEADER + CONTENT[:300], "invalid hash value"),
        (CHUNKED + b"100\r\nabc", "IncompleteRead"),
        (HEADER + CONTENT[::-1], "invalid hash value"),
        (b"nonsense\r\n\r\n", "nonsense"),
        (b"", "closed connection without response"),
    ],
    ids=["silent", "404", "truncated", "truncated chunk", "another file", "not HTTP", "hung up"],
)
def test_failures(monkeypatch, hub, answer, reason):
    with pytest.raises(CCAError, match="Inception's weights cannot be downloaded") as error:
        download(monkeypatch, answer)
    text = str(error.value)
    assert reason in text and "\n" not in text
    assert f"put it at {hub}/weights.pth" in text
    assert list(hub.iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_nobody_listens(monkeypatch, hub):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(inception, "URL_INCEPTION_V3", f"http://127.0.0.1:{port}/weights.pth")
    with pytest.raises(CCAError, match=r"cannot be downloaded \(.*refused"):
        published_weights()


def test_a_whole_file_is_kept_and_not_asked_for_again(monkeypatch, hub):
    path = download(monkeypatch, HEADER + CONTENT)
    assert path.read_bytes() == CONTENT
    assert published_weights() == path  # the server has gone
