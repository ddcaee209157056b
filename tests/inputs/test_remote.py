"""Object stores and web servers: sources, heads and outputs by address are those of files."""

import base64
import os
import shutil
import socket
import threading
import time
import traceback
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest

from support.cli_tools import Run
from vilu_sdk import MCMScorer
from vilu_sdk.inputs import open_embeddings, remote
from vilu_sdk.inputs.escape import has_stray_marks, masked, secrets_of
from vilu_sdk.inputs.remote import split_name
from vilu_sdk.scale import score_to_folder
from vilu_sdk.scorers import Scorer

rng = np.random.default_rng(0)
Z_IMG = rng.normal(size=(300, 8)).astype(np.float32)
Z_TXT = rng.normal(size=(5, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VILU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with embeddings, also in shards, and a head."""
    folder = tmp_path / "here"
    (folder / "shards").mkdir(parents=True)
    monkeypatch.chdir(folder)
    np.save("images.npy", Z_IMG)
    np.save("texts.npy", Z_TXT)
    for number, part in enumerate(np.array_split(Z_IMG, 11)):
        np.save(f"shards/z_{number}.npy", part)
    (folder / "names.txt").write_text("\n".join("abcde"))
    MCMScorer(logit_scale=9.0).save_pretrained("head")
    return folder


@pytest.fixture
def memory(here):
    """The same in fsspec's memory."""
    system = fsspec.filesystem("memory")
    system.put(str(here), "/bucket", recursive=True)
    yield "memory://bucket"
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def http(here):
    """The same behind a web server of this machine."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, the extra remote")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(here)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def s3(here, monkeypatch):
    """The same in a store that speaks S3."""
    s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs")
    moto = pytest.importorskip("moto.server", reason="a store that speaks S3 on this machine needs moto")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()  # they know the store of an earlier test
    system = fsspec.filesystem("s3")
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    system.mkdir(bucket)
    system.put(str(here), f"{bucket}/data", recursive=True)
    yield f"s3://{bucket}/data"
    server.stop()


@pytest.fixture(params=["memory", "http", "s3"])
def root(request):
    return request.getfixturevalue(request.param)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
class TestStores:
    def test_sources_and_heads_are_those_of_files(self, root, here, capsys):
        assert (open_embeddings(f"{root}/images.npy")[:] == Z_IMG).all()
        assert Scorer.from_pretrained(f"{root}/head").logit_scale == 9.0
        line = "score {0}images.npy {0}texts.npy --names {0}names.txt --scorer mcm --logit-scale 9 -q"
        remote_run, local_run = Run(line.format(f"{root}/"), capsys), Run(line.format(""), capsys)
        assert (remote_run.code, remote_run.err) == (0, "")
        assert remote_run.out == local_run.out

    def test_nothing_there_is_input(self, root, capsys):
        done = Run(f"score {root}/nothing.npy texts.npy --scorer mcm --logit-scale 9 -q", capsys)
        assert (done.code, done.err) == (
            3,
            f"vilu: error: there is neither a file nor a folder {root}/nothing.npy.\n",
        )

    def test_outputs_are_whole(self, root, here, capsys):
        line = "score images.npy texts.npy --scorer mcm --logit-scale 9 -q --piece-rows 100 -o"
        done = Run(f"{line} {root}/new/s.csv", capsys)
        if root.startswith("http:"):
            assert done.code == 4
            assert "may not be read or written" in done.err
            return
        assert (done.code, done.err) == (0, "")
        assert Run(f"{line} s.csv", capsys).code == 0
        with fsspec.open(f"{root}/new/s.csv", "rb") as file:
            written = np.loadtxt(file.read().decode().splitlines()[1:], delimiter=",")
        assert np.allclose(written, np.loadtxt("s.csv", delimiter=",", skiprows=1), atol=1e-6)
        done = Run(f"{line} {root}/folder", capsys)
        assert done.code == 2
        assert "name a file" in done.err

    def test_heads_are_saved(self, root, here, capsys):
        line = "fit images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 4 -q -o"
        np.save("labels.npy", np.argmax(Z_IMG @ Z_TXT.T, axis=1))
        if root.startswith("http:"):
            return
        assert Run(f"{line} {root}/new-head", capsys).code == 0
        assert Scorer.from_pretrained(f"{root}/new-head").logit_scale == 4.0
        MCMScorer(logit_scale=5.0).save_pretrained(f"{root}/new-head")  # over one of ours
        assert Scorer.from_pretrained(f"{root}/new-head").logit_scale == 5.0
        with fsspec.open(f"{root}/mine/config.json", "wb") as file:
            file.write(b"{}")
        with pytest.raises(FileExistsError, match="that is not of a saved scorer"):
            MCMScorer().save_pretrained(f"{root}/mine")


def test_folders_of_shards_and_patterns(memory, here, capsys):
    assert (open_embeddings(f"{memory}/shards")[:] == Z_IMG).all()
    line = "texts.npy --scorer mcm --logit-scale 9 -q --json"
    expected = Run(f"score images.npy {line}", capsys).json
    found = Run(f"score '{memory}/shards/z_*.npy' {line}", capsys).json
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]


@pytest.fixture
def signed(here):
    """A web server that gives nothing without a password and a signature, and how to address a file of it."""
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, the extra remote")
    user = base64.b64encode(b"me:" + PASSWORD.encode()).decode()

    class Guarded(SimpleHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            if (
                f"X-Amz-Signature={SIGNATURE}" not in query
                or self.headers["Authorization"] != f"Basic {user}"
            ):
                self.send_error(403, f"not for {self.path}")
                return
            self.path = path
            super().do_GET()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Guarded, directory=str(here)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"127.0.0.1:{server.server_port}"
    yield (
        lambda name, signature=SIGNATURE: (
            f"http://me:{PASSWORD}@{place}/{name}?response=a.csv&X-Amz-Signature={signature}"
        )
    )
    server.shutdown()
    server.server_close()


PASSWORD, SIGNATURE = "geheim123", "0afSIGNED9"


def no_secrets(text):
    return not any(secret in str(text) for secret in (PASSWORD, SIGNATURE, "WRONG"))


def test_addresses_with_passwords_and_signatures_are_read(signed, here, cache, capsys):
    assert (open_embeddings(signed("images.npy"))[:] == Z_IMG).all()
    assert Scorer.from_pretrained(signed("head")).logit_scale == 9.0
    line = "score '{0}' '{1}' --names '{2}' --scorer 'mine={3}' -q"
    found = Run(line.format(*map(signed, ("images.npy", "texts.npy", "names.txt", "head"))), capsys)
    assert (found.code, found.err) == (0, "")
    assert found.out == Run(line.format("images.npy", "texts.npy", "names.txt", "head"), capsys).out
    assert all(no_secrets(path) for path in cache.rglob("*"))
    assert {path.suffix for path in cache.rglob("*.*") if path.is_file()} >= {".npy", ".txt", ".json"}


@pytest.mark.parametrize("name", ["images.npy", "nothing.npy", "head"])
def test_no_message_holds_a_password_or_a_signature(signed, name, capsys):
    for address in (signed(name, "WRONG"), signed(name).replace("127.0.0.1", "127.0.0.1.invalid")):
        for call in (open_embeddings, Scorer.from_pretrained, remote.require_writable):
            with pytest.raises((OSError, ValueError)) as caught:
                call(address)
            assert no_secrets("".join(traceback.format_exception(caught.value)))
        commands = "score '{}' texts.npy --scorer mcm", "info '{}'", "fit x.npy y.npy --labels z.npy -o '{}'"
        for line in commands:
            found = Run(f"--debug {line.format(address)}", capsys)
            assert found.code
            assert no_secrets(found.out + found.err)


def test_a_copy_that_was_removed_is_made_again(memory, cache):
    for _ in range(2):
        assert (open_embeddings(f"{memory}/images.npy")[:] == Z_IMG).all()
        shutil.rmtree(cache)


def test_copies_of_what_has_no_version_go_with_the_process(memory, cache, monkeypatch):
    monkeypatch.setattr(remote, "_NO_VERSION", remote._NO_VERSION | {"created"})
    found = [open_embeddings(f"{memory}/images.npy").path for _ in range(2)]
    assert found[0] == found[1]
    assert not cache.exists()
    shutil.rmtree(found[0].parent)
    assert (open_embeddings(f"{memory}/images.npy")[:] == Z_IMG).all()
    remote._remove(found[0].parent, os.getpid() + 1)
    assert found[0].exists()
    remote._remove(found[0].parent, os.getpid())
    assert not found[0].parent.exists()


@pytest.mark.parametrize(("room", "kept"), [("1", 3), ("0", 2)])
def test_the_cache_is_bounded(room, kept, memory, cache, monkeypatch):
    """What was opened in the last day stays; of the rest goes what was opened longest ago."""
    monkeypatch.setenv("VILU_CACHE_GB", room)
    first = open_embeddings(f"{memory}/images.npy").path.parent
    second = open_embeddings(f"{memory}/texts.npy").path.parent
    os.utime(first, (0, time.time() - 2 * remote.STAYS))
    open_embeddings(f"{memory}/shards")
    assert len([*(cache / "copies").iterdir()]) == kept
    assert second.exists()
    assert first.exists() == (kept == 3)
    open_embeddings(f"{memory}/images.npy")
    os.utime(second, (0, time.time() - 2 * remote.STAYS))
    open_embeddings(f"{memory}/texts.npy")  # opened again, so that it is the newest
    assert second.exists()


def test_a_folder_of_others_is_not_written_into_without_overwrite(memory, here, capsys):
    np.save("labels.npy", np.argmax(Z_IMG @ Z_TXT.T, axis=1))
    line = "fit images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 4 -q -o"
    with fsspec.open(f"{memory}/heads/notes.txt", "wb") as file:
        file.write(b"mine")
    found = Run(f"{line} {memory}/heads", capsys)
    assert (found.code, "holds something else than a saved scorer" in found.err) == (3, True)
    assert Run(f"{line} {memory}/heads --overwrite", capsys).code == 0
    assert Run(f"{line} {memory}/heads", capsys).code == 0  # of ours now


def test_what_is_changed_is_read_again(memory, here):
    assert (open_embeddings(f"{memory}/images.npy")[:] == Z_IMG).all()
    with fsspec.open(f"{memory}/images.npy", "wb") as file:
        np.save(file, 2 * Z_IMG)
    assert (open_embeddings(f"{memory}/images.npy")[:] == 2 * Z_IMG).all()


def test_a_copy_is_made_once(memory, here, monkeypatch):
    system = fsspec.filesystem("memory")
    fetched = []
    fetch = type(system).get_file
    monkeypatch.setattr(
        type(system), "get_file", lambda self, *rest, **how: [fetched.append(rest), fetch(self, *rest, **how)]
    )
    for _ in range(3):
        open_embeddings(f"{memory}/images.npy")
    assert len(fetched) == 1


def test_a_store_that_is_gone_is_the_machine(here, capsys):
    pytest.importorskip("aiohttp")
    done = Run("score http://127.0.0.1:9/z.npy texts.npy --scorer mcm --logit-scale 9 -q", capsys)
    assert done.code in (3, 4)
    assert "http://127.0.0.1:9/z.npy" in done.err


def test_paths_are_no_addresses():
    for path in ("a/b.npy", "C:/x", "C://x", "/a//b", "owner/name", "data.npz::z"):
        assert not remote.is_remote(path)
    for address in (
        "simplecache::https://h/x",
        "zip://z.npy::s3://b/z.zip",
        "s3://b/x",
        "gs://b/x",
        "hf://datasets/a/b/c.npy",
        "https://h/x",
        "memory://x",
        "az+x://b",
    ):
        assert remote.is_remote(address)


def test_a_readme_of_the_user_stays(memory):
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/own/README.md", b"# a project")
    MCMScorer(logit_scale=9.0).save_pretrained(f"{memory}/own")
    assert system.cat("/bucket/own/README.md") == b"# a project"
    assert MCMScorer.from_pretrained(f"{memory}/own").logit_scale == 9.0


def test_folders_of_scores_are_on_a_disk(memory):
    with pytest.raises(ValueError, match="is on a disk of this machine"):
        score_to_folder(np.eye(3), f"{memory}/scores", MCMScorer(), np.eye(3))


@pytest.mark.parametrize(
    "line", ["score images.npy texts.npy --scorer mcm -o", "fit images.npy texts.npy --labels y.npy -o"]
)
def test_where_nothing_can_be_written_is_said_before_the_work(line, here, monkeypatch, capsys):
    monkeypatch.setattr("vilu_sdk.cli._inputs.open_embeddings", lambda *_, **__: pytest.fail("worked"))
    name = "http://127.0.0.1:9/head" if "fit" in line else "http://127.0.0.1:9/s.csv"
    found = Run(f"{line} {name}", capsys)
    assert found.code == 4
    assert "may not be read or written" in found.err


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.npy?", "http://@127.0.0.1:9/x.npy"])
def test_an_address_of_empty_secrets_leaves_the_message_as_it_is(address):
    with pytest.raises(ConnectionError, match=r"cannot be reached.*127\.0\.0\.1") as error:
        open_embeddings(address)
    assert str(error.value).count("…") <= 1


OWN = {
    "a file": lambda tmp_path: {"VILU_CACHE": str(tmp_path / "here" / "images.npy")},
    "below a file": lambda tmp_path: {"VILU_CACHE": str(tmp_path / "here" / "images.npy" / "cache")},
    "no place for files": lambda tmp_path: {"VILU_CACHE": "/proc/none"},
    "a room in words": lambda tmp_path: {remote.ROOM: "lots"},
}


@pytest.mark.parametrize("fault", OWN)
def test_a_fault_of_the_own_cache_is_not_the_stores(memory, tmp_path, monkeypatch, fault):
    for name, value in OWN[fault](tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises((OSError, ValueError)) as error:
        open_embeddings(f"{memory}/images.npy")
    said = str(error.value)
    assert "VILU_CACHE" in said
    assert not isinstance(error.value, ConnectionError | FileNotFoundError)
    assert "check the address" not in said
    assert "cannot be reached" not in said


@pytest.mark.parametrize("mark", list("/?#'\"!%;,&="))
@pytest.mark.parametrize("protocol", ["https", "s3", "simplecache::https", "zip://a.npy::https"])
def test_no_mark_in_a_password_lets_it_be_seen(mark, protocol):
    password = f"gehe{mark}im{mark}nis"
    address = f"{protocol}://me:{password}@127.0.0.1:9/o'b.npy?X-Amz-Signature=0a{mark}fSIGNED"
    for text in (address, f"cannot read {address!r}", f"<{address}>", f'{{"at": "{address}", "b": "c@d"}}'):
        said = masked(text)
        assert not any(part in said for part in ("gehe", "nis", "fSIGNED"))
        assert "127.0.0.1:9/o" in said
    with pytest.raises((OSError, ValueError, ImportError)) as error:  # where an extra is missing too
        open_embeddings(address)
    assert not any(part in str(error.value) for part in ("gehe", "nis", "fSIGNED"))


def test_no_secret_is_told_of_an_address_where_an_array_belongs():
    with pytest.raises((TypeError, ValueError)) as error:
        MCMScorer().predict(f"https://me:{'geheim' * 40}@host/z.npy", Z_TXT)
    assert "geheim" not in str(error.value)
    assert "https://host/z.npy" in str(error.value)


@pytest.mark.parametrize("who", ["{}", "{}:", "me:{}"])
@pytest.mark.parametrize("length", [500, 600, 3000])
def test_a_token_of_any_usual_length_is_masked(who, length):
    who = who.format("x" * length)
    address = f"https://{who}@host/z.npy"
    assert masked(address) == "https://host/z.npy"
    assert secrets_of(address)[0] == who
    assert not has_stray_marks(address)


@pytest.mark.parametrize(
    "host",
    ["[::1]", "[2001:db8::1]", "[2001:db8::1]:8000", "[::ffff:1.2.3.4]:80", "[fe80::1%25eth0]:80"],
)
def test_a_number_of_a_host_is_no_password_and_no_name(host):
    address = f"http://{host}/folder/z@2x.npy"
    assert split_name(f"{address}::images") == (address, "images")
    assert "::" not in remote._HOST.sub(remote._spelled_out, address)
    assert masked(address) == address
    assert masked(f"http://me:secret@{host}/folder/z@2x.npy") == address
    assert not has_stray_marks(address)


def test_an_address_may_have_a_number_of_a_host_or_a_cache_of_fsspec(here, monkeypatch, capsys):
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp, the extra remote")
    np.savez("both.npz", images=Z_IMG, other=Z_TXT)

    class Six(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    try:
        server = Six(("::1", 0), Quiet)
    except OSError:
        pytest.skip("this machine has no IPv6")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://[::1]:{server.server_port}"
    try:
        line = "score '{}' '{}' --scorer mcm --logit-scale 9 -q"
        plain = Run(line.format("both.npz::images", "texts.npy"), capsys)
        for before in ("", "simplecache::"):
            images, texts = f"{before}{place}/both.npz::images", f"{before}{place}/texts.npy"
            found = Run(line.format(images, texts), capsys)
            assert (found.code, found.err, found.out) == (0, "", plain.out)
            assert (open_embeddings(texts)[:] == Z_TXT).all()
    finally:
        server.shutdown()
        server.server_close()
