"""A service behind a real socket, in a thread of this process, and clients of it by the standard library."""

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np


class Answer(NamedTuple):
    """What came back."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@contextmanager
def serving(application: Any) -> Iterator[int]:
    """Serve from a thread, and give the port."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, path: str, body: Any = None, kind: str = "application/json") -> Answer:
    """Ask once, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, content, {"content-type": kind})
        return _read(connection.getresponse())
    finally:
        connection.close()


def head(path: str, *headers: str) -> bytes:
    """The head of a POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: test", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def answer_of(sock: socket.socket) -> Answer:
    """Read an answer off a socket."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    return _read(response)


def npy(*arrays: Any) -> bytes:
    """Arrays as numpy saves them, one after the other."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def _read(response: http.client.HTTPResponse) -> Answer:
    text = response.read().decode()
    return Answer(response.status, text, {name.lower(): value for name, value in response.getheaders()})
