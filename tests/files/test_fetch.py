"""Fetching from a server on this machine that breaks off, forgets ranges, or changes its file."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError

from cca.errors import CCAError
from cca.files import fetch, read_json
from cca.files.checksums import known
from cca.settings import validate

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Server(ThreadingHTTPServer):
    """Serves one file; knows what was asked of it."""

    content = CONTENT
    etag = "one"
    ranges = True  # whether ranges are understood
    most = len(CONTENT)  # bytes that one answer sends before the connection breaks
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/samples.npz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        with suppress(OSError):  # a client that has read enough
            self.wfile.write(body[: self.server.most])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited for, which pass at once."""
    waited: list[float] = []
    monkeypatch.setattr(fetch.time, "sleep", waited.append)
    return waited


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "adm" / "samples.npz"


def left(out: Path) -> list[Path]:
    return list(out.parent.glob(".*.part"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_calls_side_by_side_fetch_a_file_once(server: Server, out: Path) -> None:
    expected = sha256(CONTENT)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: fetch.download(server.url, out, expected), range(4)))
    assert found == [expected] * 4 and out.read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_file_comes_whole(server: Server, out: Path) -> None:
    assert fetch.download(server.url, out) == sha256(CONTENT)
    assert out.read_bytes() == CONTENT
    assert not left(out)


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, out: Path) -> None:
    server.most = 400_000
    assert fetch.download(server.url, out, sha256(CONTENT)) == sha256(CONTENT)
    assert out.read_bytes() == CONTENT
    starts = [0, *(int(asked[len("bytes=") : -1]) for asked in server.asked if asked)]
    assert len(starts) == 3
    assert all(400_000 - fetch.CHUNK < step <= 400_000 for step in np.diff(starts))


def test_a_later_call_goes_on(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    server.most = 700_000
    with pytest.raises(CCAError, match=r"samples\.npz: not fetched .*; the same command goes on") as error:
        fetch.download(server.url, out)
    assert "\n" not in str(error.value)
    (part,) = left(out)
    size = part.stat().st_size
    assert not out.exists() and 700_000 - fetch.CHUNK < size <= 700_000
    server.most = len(CONTENT)
    fetch.download(server.url, out)
    assert out.read_bytes() == CONTENT and server.asked[-1] == f"bytes={size}-"


def test_a_server_without_ranges_is_read_from_the_start(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    server.most, server.ranges = 700_000, False
    with pytest.raises(CCAError):
        fetch.download(server.url, out)
    server.most = len(CONTENT)
    assert fetch.download(server.url, out) == sha256(CONTENT)
    assert out.read_bytes() == CONTENT


def test_a_part_of_another_version_is_not_gone_on_with(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    server.most = 700_000
    with pytest.raises(CCAError):
        fetch.download(server.url, out)
    server.most, server.content, server.etag = len(CONTENT), CONTENT[::-1], "two"
    fetch.download(server.url, out)
    assert out.read_bytes() == CONTENT[::-1] and not left(out)


def test_a_wrong_checksum_leaves_nothing_and_is_not_tried_again(server: Server, out: Path) -> None:
    with pytest.raises(CCAError) as error:
        fetch.download(server.url, out, "0" * 64)
    assert str(error.value).startswith(f"{server.url}: its SHA-256 is {sha256(CONTENT)}, not {'0' * 64}: ")
    assert "\n" not in str(error.value)
    assert not out.exists() and not left(out) and len(server.asked) == 1


def test_a_refusal_is_one_line_and_not_asked_again(server: Server, out: Path) -> None:
    server.status = 404
    with pytest.raises(CCAError) as error:
        fetch.download(server.url, out)
    assert str(error.value) == f"{server.url}: the server answers 404 Not Found; check the URL"
    assert len(server.asked) == 1 and not out.exists()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_longer_and_longer_pauses(
    server: Server, out: Path, pauses: list[float], status: int
) -> None:
    server.status = status
    with pytest.raises(CCAError, match=rf"not fetched \({status} .*; the same command goes on from there"):
        fetch.download(server.url, out)
    assert len(server.asked) == fetch.TRIES and pauses == [1, 2, 4]


def test_a_part_that_is_too_long_is_thrown_away(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    server.most = 700_000
    with pytest.raises(CCAError):
        fetch.download(server.url, out)
    (part,) = left(out)
    part.write_bytes(CONTENT + b"more")
    server.most = len(CONTENT)
    with pytest.raises(CCAError, match="1000004 bytes came of 1000000"):
        fetch.download(server.url, out)
    assert not left(out) and not out.exists()
    assert fetch.download(server.url, out) == sha256(CONTENT)


def test_a_server_that_is_not_there_is_said_without_the_chain_of_calls(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CCAError, match=r"not fetched \(Failed to [^()<>]*Connection refused\); the same"):
        fetch.download(f"http://127.0.0.1:{port}/a.npz", out)

    def late(*_: object, **__: object) -> None:
        cause = ConnectTimeoutError(object(), "Connection to there timed out. (connect timeout=60)")
        raise requests.ConnectTimeout(MaxRetryError(None, "/a.npz", cause))

    monkeypatch.setattr(requests, "get", late)
    with pytest.raises(
        CCAError, match=r"not fetched \(Connection to there timed out\. \(connect timeout=60\)\);"
    ):
        fetch.download("https://there/a.npz", out)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "timed out"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\nabc", "IncompleteRead"),
        (b"nonsense\r\n\r\n", "nonsense"),
        (b"", "Remote end closed connection"),
    ],
    ids=["silent", "truncated chunk", "not HTTP", "hung up"],
)
def test_what_is_no_answer(
    out: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, reason: str
) -> None:
    monkeypatch.setattr(fetch, "TRIES", 1)
    monkeypatch.setattr(fetch, "TIMEOUT", 0.5)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(20)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(CCAError, match=rf"not fetched \(.*{reason}.*\); the same command") as error:
            fetch.download(f"http://127.0.0.1:{listening.getsockname()[1]}/a.npz", out)
        done.set()
        thread.join()
    assert "\n" not in str(error.value) and not out.exists()


@pytest.mark.parametrize("content", ["[1]", "3", '{"a": 1}', "{"])
def test_a_damaged_record_of_checksums_is_one_line(out: Path, content: str) -> None:
    record = out.with_name("samples.checksums.json")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(content)
    with pytest.raises(CCAError, match=r"samples.checksums.json: not .*; delete it") as error:
        known(out)
    assert "\n" not in str(error.value)


def test_a_checksum_is_recorded_at_first_use_and_holds(server: Server, out: Path) -> None:
    settings = fetch.FetchSettings.model_construct(url=server.url, sha256=None)
    assert fetch.run(settings, out=out) == {"sha256": sha256(CONTENT)}
    assert read_json(out.with_name("samples.checksums.json")) == {server.url: sha256(CONTENT)}
    out.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(CCAError, match=f"not {sha256(CONTENT)}: another file"):
        fetch.run(settings, out=out)
    assert not out.exists()
    wanted = sha256(CONTENT[::-1])
    fetch.run(settings.model_copy(update={"sha256": wanted}), out=out)  # the key says that it is right
    assert read_json(out.with_name("samples.checksums.json")) == {server.url: wanted}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "http://a.org/b.npz"}, "key 'url': only https URLs are fetched; get the file yourself"),
        ({"url": "https://a.org/b.npz", "sha256": "abc"}, "key 'sha256': String should match pattern"),
    ],
)
def test_refusals(values: dict, message: str) -> None:
    with pytest.raises(CCAError) as error:
        validate(fetch.FetchSettings, values, "--settings")
    assert message in str(error.value) and "\n" not in str(error.value)
