"""As much of the Hub's HTTP interface as loading and uploading a model needs, on 127.0.0.1.

Files are taken inline, as the Hub takes small ones; its protocols for large files are left to the client.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"
Files = dict[str, bytes]


class FakeHub:
    """Repositories in memory: branches name commits, commits hold files; `log` is what was asked."""

    def __init__(self) -> None:
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.private: set[str] = set()
        self.log: list[str] = []
        self.messages: list[str] = []
        self.url = ""

    def commit(self, repo: str, branch: str, files: Files) -> str:
        old = self.commits.get(self.branches.setdefault(repo, {}).get(branch, ""), {})
        name = hashlib.sha1(f"{repo}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = old | files
        self.branches[repo][branch] = name
        return name


class Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, body: object = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"error": code}, X_Error_Code=code)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append(f"{self.command} {path}")
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                repo = match.groupdict().get("repo")
                trusted = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                if method.startswith("write") and not trusted:
                    return self.reply(401, {"error": "Invalid username or password."})
                if repo and (repo not in self.hub.branches or (repo in self.hub.private and not trusted)):
                    return self.refuse(404 if trusted else 401, "RepoNotFound")
                return getattr(self, method)(body, **match.groupdict())
        return self.refuse(501, f"the fake Hub has no route {self.command} {path}")

    do_GET = do_HEAD = do_POST = handle_any

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
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in found[1].items()
            ]
            self.reply(200, rows)

    def read_file(self, _: bytes, repo: str, revision: str, file: str) -> None:
        if found := self.files(repo, revision):
            if file not in found[1]:
                return self.refuse(404, "EntryNotFound")
            data = found[1][file]
            etag = f'"{hashlib.sha256(data).hexdigest()}"'
            self.reply(200, data, ETag=etag, X_Repo_Commit=found[0])
        return None

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
            {"path": file["path"], "shouldIgnore": False, "uploadMode": "regular"}
            for file in json.loads(body)["files"]
        ]
        self.reply(200, {"files": modes})

    def write_commit(self, body: bytes, repo: str, revision: str) -> None:
        files: Files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                self.hub.messages.append(value["summary"])
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        name = self.hub.commit(repo, revision, files)
        self.reply(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name})


MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    (r"POST /api/repos/create", "write_repo"),
    (rf"GET {MODEL}(?:/revision/(?P<revision>.+))?", "read_info"),
    (rf"GET {MODEL}/tree/(?P<revision>[^/]+)/?", "read_tree"),
    (rf"POST {MODEL}/preupload/(?P<revision>.+)", "write_modes"),
    (rf"POST {MODEL}/commit/(?P<revision>.+)", "write_commit"),
    (rf"POST {MODEL}/branch/(?P<branch>.+)", "write_branch"),
    (r"(?:GET|HEAD) /(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "read_file"),
]


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub})) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
