"""Downloads from a server of our own: whole, resumed, refused."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cca.download import download
from cca.errors import CCAError

CONTENT = bytes(range(256)) * 20
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, from the middle if asked and able, and breaks off after ``limit`` bytes."""

    asked: list[str | None]
    limit: int
    ranges: bool

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.limit])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Handler]]:
    handler = type("Fresh", (Handler,), {"asked": [], "limit": 10**9, "ranges": True})
    served = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{served.server_port}/file.bin"
    yield handler
    served.shutdown()
    served.server_close()


def test_a_download_is_whole_and_made_once(server: type[Handler], tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.bin"
    download(server.url, path, MD5)
    assert path.read_bytes() == CONTENT
    download(server.url, path, MD5)
    assert server.asked == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(
    server: type[Handler], tmp_path: Path, ranges: bool
) -> None:
    path = tmp_path / "file.bin"
    server.limit = 3000
    with pytest.raises(CCAError, match=r"stopped after 3000 bytes .*run again to resume") as error:
        download(server.url, path, MD5)
    assert "\n" not in str(error.value) and not path.exists()
    server.limit, server.ranges = 10**9, ranges
    download(server.url, path, MD5)
    assert server.asked == [None, "bytes=3000-"]
    assert path.read_bytes() == CONTENT


def test_a_download_killed_before_it_was_named_is_only_checked(server: type[Handler], tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "file.bin", MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: type[Handler], tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=f"MD5 is {MD5}, not the published 0000"):
        download(server.url, tmp_path / "file.bin", "0000")
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CCAError, match=r"stopped after 0 bytes \(.*refused") as error:
        download("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", MD5)
    assert "\n" not in str(error.value)
