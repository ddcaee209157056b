"""As much of the Hub's HTTP interface as loading and uploading a model needs, on 127.0.0.1.

Small files are taken inline and large ones by git LFS, as the Hub does; Xet is not offered. Any answer can
be made to fail.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

TOKEN = "hf_good"
LFS_TYPE = "application/vnd.git-lfs+json"
Files = dict[str, bytes]


class FakeHub:
    """Repositories in memory: branches and tags name commits, commits hold files; `log` is what was asked."""

    def __init__(self) -> None:
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.large: tuple[str, ...] = (".safetensors",)
        self.blobs: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.log: list[str] = []
        self.messages: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        # Another host than the Hub's, as in life: the client must not send its token there.
        return f"http://localhost:{self.port}"

    def commit(self, repo: str, branch: str, files: Files) -> str:
        old = self.commits.get(self.branches.setdefault(repo, {}).get(branch, ""), {})
        name = hashlib.sha1(f"{repo}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = old | files
        self.branches[repo][branch] = name
        return name

    def fail(self, request: str, fault: str, times: int = 1000) -> None:
        """Spoil the next answers to requests that match: a status, "cut", "short", "corrupt" or "garbage"."""
        self.faults[request] = [fault] * times

    def is_large(self, file: str) -> bool:
        return file.endswith(self.large)


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    fault = ""

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: object = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if status == 200 and (start := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")):
            begin, end = int(start[1]), len(data)
            status, data = 206, data[begin:]
            headers["Content_Range"] = f"bytes {begin}-{end - 1}/{end}"
        length = len(data)
        if self.fault == "short":
            data, length = data[:-10], length - 10
        elif self.fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif self.fault == "garbage":
            data = b"<html>Good day</html>"
            length = len(data)
        elif self.fault == "cut":
            data = data[: length // 2]
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        if self.fault == "cut":
            self.close_connection = True

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"error": code}, X_Error_Code=code)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        request = f"{self.command} {path}"
        self.hub.log.append(request)
        self.fault = next(
            (left.pop() for start, left in self.hub.faults.items() if re.match(start, request) and left), ""
        )
        if self.fault.isdigit():
            return self.reply(int(self.fault), {"error": "as told"}, Retry_After="0")
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, request):
                repo = match.groupdict().get("repo")
                trusted = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                if method.startswith("write") and not trusted:
                    return self.reply(401, {"error": "Invalid username or password."})
                if repo and (repo not in self.hub.branches or (repo in self.hub.private and not trusted)):
                    return self.refuse(404 if trusted else 401, "RepoNotFound")
                if repo in self.hub.gated and not trusted and method == "read_file":
                    return self.refuse(403, "GatedRepo")
                return getattr(self, method)(body, **match.groupdict())
        return self.refuse(501, f"the fake Hub has no route {request}")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def files(self, repo: str, revision: str | None) -> tuple[str, Files] | None:
        revision = self.hub.branches[repo].get(revision or "main", revision or "main")
        if revision not in self.hub.commits:
            self.refuse(404, "RevisionNotFound")
            return None
        return revision, self.hub.commits[revision]

    def read_info(self, _: bytes, repo: str, revision: str | None) -> None:
        if found := self.files(repo, revision):
            siblings = [{"rfilename": name} for name in found[1]]
            self.reply(200, {"id": repo, "sha": found[0], "siblings": siblings, "private": False})

    def read_tree(self, _: bytes, repo: str, revision: str) -> None:
        if found := self.files(repo, revision):
            rows = []
            for name, data in found[1].items():
                row = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                if self.hub.is_large(name):
                    oid = hashlib.sha256(data).hexdigest()
                    row["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
                rows.append(row)
            self.reply(200, rows)

    def read_file(self, _: bytes, repo: str, revision: str, file: str) -> None:
        if found := self.files(repo, revision):
            if file not in found[1]:
                return self.refuse(404, "EntryNotFound")
            data = found[1][file]
            oid = hashlib.sha256(data).hexdigest()
            if self.hub.is_large(file):
                self.hub.blobs[oid] = data
                linked = {"X_Linked_ETag": f'"{oid}"', "X_Linked_Size": str(len(data))}
                where = f"{self.hub.store}/lfs/{oid}"
                return self.reply(302, b"", Location=where, X_Repo_Commit=found[0], **linked)
            return self.reply(200, data, ETag=f'"{oid}"', X_Repo_Commit=found[0])
        return None

    def read_blob(self, _: bytes, oid: str) -> None:
        assert "Authorization" not in self.headers
        self.reply(200, self.hub.blobs[oid], ETag=f'"{oid}"')

    def check_card(self, body: bytes) -> None:
        card = json.loads(body)["content"]
        good = card.startswith("---\n") and "library_name: vilu-sdk\n" in card
        self.reply(
            200 if good else 400, {"errors": [] if good else [{"message": "no metadata"}], "warnings": []}
        )

    def write_repo(self, body: bytes) -> None:
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.branches:
            url = f"{self.hub.url}/{repo}"
            return self.reply(409, {"error": "You already created this model repo", "url": url})
        self.hub.commit(repo, "main", {".gitattributes": b""})
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repo)
        return self.reply(200, {"url": f"{self.hub.url}/{repo}", "id": repo})

    def write_branch(self, _: bytes, repo: str, branch: str) -> None:
        if branch in self.hub.branches[repo]:
            return self.reply(409, {"error": "Reference already exists"})
        self.hub.branches[repo][branch] = self.hub.branches[repo]["main"]
        return self.reply(200, {})

    def write_modes(self, body: bytes, repo: str, revision: str) -> None:
        modes = [
            {
                "path": file["path"],
                "shouldIgnore": False,
                "uploadMode": "lfs" if self.hub.is_large(file["path"]) else "regular",
            }
            for file in json.loads(body)["files"]
        ]
        self.reply(200, {"files": modes})

    def write_lfs_batch(self, body: bytes, repo: str) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            if item["oid"] not in self.hub.blobs:
                upload = {"href": f"{self.hub.store}/lfs/{item['oid']}"}
                item["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/{repo}/lfs-verify"}}
            objects.append(item)
        self.reply(200, {"transfer": "basic", "objects": objects}, Content_Type=LFS_TYPE)

    def put_blob(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self.reply(400, {"error": "another content than announced"})
        self.hub.blobs[oid] = body
        return self.reply(200)

    def write_verified(self, body: bytes, repo: str) -> None:
        asked = json.loads(body)
        stored = self.hub.blobs.get(asked["oid"])
        self.reply(200 if stored is not None and len(stored) == asked["size"] else 404)

    def write_commit(self, body: bytes, repo: str, revision: str) -> None:
        files: Files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        name = self.hub.commit(repo, revision, files)
        self.reply(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name})


MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
REPO = r"/(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    (r"POST /api/repos/create", "write_repo"),
    (r"POST /api/validate-yaml", "check_card"),
    (rf"GET {MODEL}(?:/revision/(?P<revision>.+))?", "read_info"),
    (rf"GET {MODEL}/tree/(?P<revision>[^/]+)/?", "read_tree"),
    (rf"POST {MODEL}/preupload/(?P<revision>.+)", "write_modes"),
    (rf"POST {MODEL}/commit/(?P<revision>.+)", "write_commit"),
    (rf"POST {MODEL}/branch/(?P<branch>.+)", "write_branch"),
    (rf"(?:GET|HEAD) {REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "read_file"),
    (rf"POST {REPO}\.git/info/lfs/objects/batch", "write_lfs_batch"),
    (rf"POST {REPO}/lfs-verify", "write_verified"),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", "put_blob"),
    (r"(?:GET|HEAD) /lfs/(?P<oid>[0-9a-f]{64})", "read_blob"),
]


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub})) as server:
        hub.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _NoWaiting:
    """The module `time` for a client whose retries shall not sleep."""

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    def sleep(self, _: float) -> None:
        pass


def forget_connections() -> None:
    """Make the client begin anew, which some releases need to notice a setting."""
    for name in ("close_session", "reset_sessions"):
        getattr(_http, name, lambda: None)()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub that the client of this process talks to."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(file_download, "time", _NoWaiting())
    monkeypatch.setattr(_http, "time", _NoWaiting())
    with running_hub() as running:
        # What setting HF_ENDPOINT before the import of huggingface_hub would do.
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        yield running
    forget_connections()
