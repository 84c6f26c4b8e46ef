"""Downloads from a real local server that misbehaves on purpose."""

import hashlib
import http.server
import pathlib
import subprocess
import sys
import threading

import download
import numpy as np
import pytest
import requests

CONTENT = np.random.default_rng(0).bytes(200_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        first = 0
        if server.resumes and self.headers.get("Range"):
            first = int(self.headers["Range"][len("bytes=") : -1])
        body = server.content[first:]
        if not body:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:  # the connection is dropped in the middle
            body = body[: server.cuts.pop(0)]
            self.close_connection = True
        server.sent += len(body)  # before the client can have it all
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0)
    monkeypatch.setattr(download, "PIECE", 1000)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.content, server.resumes = CONTENT, True
    server.statuses, server.cuts, server.ranges = [], [], []
    server.sent = 0
    server.url = f"http://127.0.0.1:{server.server_port}/breastmnist.npz"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _fetch(server, path):
    return download.fetch(server.url, path, MD5, progress=False)


def _assert_fetched(path):
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def _failure(server, path):
    with pytest.raises(ValueError) as error:
        _fetch(server, path)
    assert "\n" not in str(error.value)
    assert not path.exists()
    return str(error.value)


def test_missing_file_is_downloaded(server, tmp_path):
    path = tmp_path / "data" / "breastmnist.npz"
    assert _fetch(server, path) == path
    _assert_fetched(path)
    _fetch(server, path)
    assert server.ranges == [None]  # what is there is not asked for again


def test_file_address_and_path_as_text(tmp_path):
    source = tmp_path / "a source.npz"
    source.write_bytes(CONTENT)
    path = tmp_path / "data" / "breastmnist.npz"
    fetched = download.fetch(source.as_uri(), str(path), MD5.upper(), False)
    assert fetched == path
    _assert_fetched(path)


def test_progress_counts_bytes(server, tmp_path, capsys):
    (tmp_path / "breastmnist.npz.part").write_bytes(CONTENT[:50_000])
    download.fetch(server.url, tmp_path / "breastmnist.npz", MD5)
    output = capsys.readouterr()
    assert "200k/200k" in output.err and not output.out


@pytest.mark.parametrize("resumes", [True, False])
def test_dropped_connections_are_resumed(server, tmp_path, resumes):
    server.resumes = resumes
    server.cuts = [50_000, 60_000]
    path = tmp_path / "breastmnist.npz"
    _fetch(server, path)
    _assert_fetched(path)
    if resumes:
        assert server.ranges == [None, "bytes=50000-", "bytes=110000-"]
        assert server.sent == len(CONTENT)


def test_interrupted_download_is_completed_later(server, tmp_path):
    path = tmp_path / "breastmnist.npz"
    server.cuts = [1000] * download.TRIES
    text = _failure(server, path)
    assert "after 5000 bytes" in text and "resume" in text
    _fetch(server, path)
    assert server.ranges[-1] == "bytes=5000-"
    _assert_fetched(path)


def test_keyboard_interrupt_leaves_a_part(server, tmp_path, monkeypatch):
    def interrupted(response, size):
        yield response.raw.read(size)
        raise KeyboardInterrupt

    path = tmp_path / "breastmnist.npz"
    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _fetch(server, path)
    assert not path.exists()
    _fetch(server, path)
    assert server.ranges == [None, "bytes=1000-"]
    _assert_fetched(path)


def test_network_lost_in_the_middle_may_come_back(
    server, tmp_path, monkeypatch
):
    server.cuts = [50_000]
    urls = [server.url, "http://127.0.0.1:9/", server.url]
    get = requests.get
    monkeypatch.setattr(
        requests, "get", lambda url, **options: get(urls.pop(0), **options)
    )
    path = tmp_path / "breastmnist.npz"
    _fetch(server, path)
    assert server.ranges == [None, "bytes=50000-"]
    _assert_fetched(path)


def test_version_that_changes_in_the_middle(server, tmp_path, monkeypatch):
    server.content, server.cuts = bytes(len(CONTENT)), [50_000]

    def publish(seconds):
        server.content = CONTENT

    monkeypatch.setattr(download.time, "sleep", publish)
    path = tmp_path / "breastmnist.npz"
    _fetch(server, path)
    assert server.ranges == [None, "bytes=50000-", None]
    _assert_fetched(path)


def test_complete_part_is_only_checked(server, tmp_path):
    path = tmp_path / "breastmnist.npz"
    (tmp_path / "breastmnist.npz.part").write_bytes(CONTENT)
    _fetch(server, path)
    _assert_fetched(path)
    assert server.sent == 0


@pytest.mark.parametrize("size", [1000, 300_000])
def test_part_of_another_version_is_not_used(server, tmp_path, size):
    path = tmp_path / "breastmnist.npz"
    (tmp_path / "breastmnist.npz.part").write_bytes(bytes(size))
    _fetch(server, path)
    _assert_fetched(path)


def test_wrong_content_is_not_kept(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    text = _failure(server, tmp_path / "breastmnist.npz")
    assert "not the published file" in text and MD5 in text
    assert {p.suffix for p in tmp_path.iterdir()} <= {".lock"}


@pytest.mark.parametrize(
    "status, tries", [(403, 1), (404, 1), (500, download.TRIES)]
)
def test_status_is_reported(server, tmp_path, status, tries):
    server.statuses = [status] * tries
    text = _failure(server, tmp_path / "breastmnist.npz")
    assert f"status {status}" in text and server.url in text
    assert len(server.ranges) == tries


def test_troubled_server_is_asked_again(server, tmp_path):
    server.statuses = [500, 503]
    path = tmp_path / "breastmnist.npz"
    _fetch(server, path)
    _assert_fetched(path)


def test_bad_address_is_tried_once(tmp_path, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", pytest.fail)
    with pytest.raises(ValueError, match="gopher://nowhere") as error:
        download.fetch("gopher://nowhere", tmp_path / "a", MD5, progress=False)
    assert "\n" not in str(error.value)


def test_no_server_says_where_to_put_the_file(tmp_path):
    path = tmp_path / "breastmnist.npz"
    url = "http://127.0.0.1:9/breastmnist.npz"
    with pytest.raises(ValueError, match="by hand") as error:
        download.fetch(url, path, MD5, progress=False)
    assert url in str(error.value) and str(path) in str(error.value)


def test_damaged_file_is_reported_and_left(server, tmp_path):
    path = tmp_path / "breastmnist.npz"
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match="damaged or not the published"):
        _fetch(server, path)
    assert path.read_bytes() == b"mine" and not server.ranges


def test_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="Cannot write or read") as error:
        _fetch(server, tmp_path / "file" / "breastmnist.npz")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(
    not pathlib.Path("/dev/full").exists(), reason="no device that is full"
)
def test_full_disk_is_one_line(server, tmp_path):
    (tmp_path / "breastmnist.npz.part").symlink_to("/dev/full")
    text = _failure(server, tmp_path / "breastmnist.npz")
    assert "No space left" in text


def test_two_at_once_download_once(server, tmp_path):
    path = tmp_path / "breastmnist.npz"
    threads = [
        threading.Thread(target=_fetch, args=(server, path)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.ranges) == 1
    assert path.read_bytes() == CONTENT


def test_two_processes_download_once(server, tmp_path):
    path = tmp_path / "breastmnist.npz"
    code = "import sys, download; download.fetch(*sys.argv[1:], progress=False)"
    command = [sys.executable, "-c", code, server.url, str(path), MD5]
    folder = pathlib.Path(download.__file__).parent
    processes = [subprocess.Popen(command, cwd=folder) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(server.ranges) == 1
    assert path.read_bytes() == CONTENT
