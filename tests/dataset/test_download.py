import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tenacity import wait_none

from robust_distillation.dataset import download as module
from robust_distillation.dataset.download import BLOCK, download
from robust_distillation.errors import InputError

BODY = bytes(range(256)) * 20_000
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(module._again, "wait", wait_none())


@pytest.fixture
def server():
    """A loopback server whose `behave(request number, handler)` a test sets; it records the Range headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.ranges.append(self.headers.get("Range"))
            self.server.behave(len(self.server.ranges), self)

        def send(self, body, *, status=200, stated=None, **headers):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if stated is None else stated))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def send_rest(self, body=BODY, upto=None):
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            if start >= len(body):
                return self.send(b"", status=416)
            rest = body[start:upto]
            status = 206 if asked else 200
            stated = len(body) - start
            return self.send(
                rest, status=status, stated=stated, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}"
            )

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.ranges = []
        http.url = f"http://127.0.0.1:{http.server_port}/file.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def assert_arrived(path):
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_whole_file_arrives_and_is_not_asked_for_again(server, tmp_path):
    server.behave = lambda number, handler: handler.send_rest()
    path = tmp_path / "new/file.zip"
    download(server.url, path, md5=MD5)
    download(server.url, path, md5=MD5)
    assert server.ranges == [None]
    assert_arrived(path)


def test_part_of_a_killed_process_is_gone_on_with(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(BODY[:1_000_000])
    server.behave = lambda number, handler: handler.send_rest()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.ranges == ["bytes=1000000-"]
    assert_arrived(tmp_path / "file.zip")


def test_whole_part_only_takes_its_name(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(BODY)
    server.behave = lambda number, handler: handler.send_rest()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.ranges == [f"bytes={len(BODY)}-"]
    assert_arrived(tmp_path / "file.zip")


def test_drops_are_gone_on_with_where_they_happened(server, tmp_path):
    server.behave = lambda number, handler: handler.send_rest(upto=number * 20 * BLOCK if number < 4 else None)
    download(server.url, tmp_path / "file.zip", md5=MD5)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.ranges[1:]]
    assert starts == [20 * BLOCK, 40 * BLOCK, 60 * BLOCK]
    assert_arrived(tmp_path / "file.zip")


def test_server_that_ignores_range_starts_over(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(BODY[:1_000_000])
    server.behave = lambda number, handler: handler.send(BODY)
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert len(server.ranges) == 1
    assert_arrived(tmp_path / "file.zip")


@pytest.mark.parametrize("stale", [b"other" * 1000, BODY + b"tail"])
def test_part_of_another_file_is_fetched_anew(server, tmp_path, stale):
    (tmp_path / "file.zip.part").write_bytes(stale)
    server.behave = lambda number, handler: handler.send_rest()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert server.ranges[-1] is None
    assert_arrived(tmp_path / "file.zip")


def test_damaged_file_of_that_name_is_replaced(server, tmp_path):
    (tmp_path / "file.zip").write_bytes(b"damaged")
    server.behave = lambda number, handler: handler.send_rest()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert_arrived(tmp_path / "file.zip")


def test_busy_server_is_asked_again(server, tmp_path):
    server.behave = lambda number, handler: handler.send(b"", status=503) if number < 3 else handler.send_rest()
    download(server.url, tmp_path / "file.zip", md5=MD5)
    assert_arrived(tmp_path / "file.zip")


def assert_one_line(url, path, *words):
    with pytest.raises(InputError) as caught:
        download(url, path, md5=MD5)
    message = str(caught.value)
    assert "\n" not in message
    assert not path.exists()
    for word in (url, "data.path", *words):
        assert word in message


def test_wrong_bytes_are_refused_and_not_kept(server, tmp_path):
    server.behave = lambda number, handler: handler.send_rest(BODY[::-1])
    assert_one_line(server.url, tmp_path / "file.zip", MD5)
    assert list(tmp_path.iterdir()) == []
    assert len(server.ranges) == 1


def test_missing_file_is_refused_at_once(server, tmp_path):
    server.behave = lambda number, handler: handler.send(b"no such page", status=404)
    assert_one_line(server.url, tmp_path / "file.zip", "404")
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


def test_server_that_stays_busy_is_given_up(server, tmp_path):
    server.behave = lambda number, handler: handler.send(b"", status=503)
    assert_one_line(server.url, tmp_path / "file.zip", "503")


def test_server_that_keeps_dropping_leaves_the_part(server, tmp_path):
    server.behave = lambda number, handler: handler.send_rest(upto=number * BLOCK)
    assert_one_line(server.url, tmp_path / "file.zip", "file.zip.part")
    assert (tmp_path / "file.zip.part").read_bytes() == BODY[: len(server.ranges) * BLOCK]


def test_unreachable_server_is_named(tmp_path):
    assert_one_line("http://127.0.0.1:9/file.zip", tmp_path / "file.zip", "not downloaded")
