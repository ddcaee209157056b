"""The service over real sockets: many clients, bad ones, slow ones, and the end in the middle."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from support.served import answer_of, ask, head, npy, serving
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.selective import RiskMonitor
from vilu_sdk.serve import Limits, app

for _module in ("fastapi", "prometheus_client", "uvicorn"):
    pytest.importorskip(_module)
BODY = json.dumps({"z_img": [[0.5] * 16]}).encode()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=120)


def test_concurrent_clients_get_what_one_gets_alone(toy: SimpleNamespace) -> None:
    scorer = ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    batches = np.array_split(toy.z_img, 64)
    sets = [toy.z_txt, toy.z_txt[:4], toy.z_txt[2:]]
    bodies = [npy(z, sets[turn % 3]) for turn, z in enumerate(batches)]
    with serving(app(scorer, threads=4, limits=Limits(kept=2))) as port:

        def post(body: bytes) -> Any:
            answer = ask(port, "/judge", body, "application/x-npy")
            assert answer.status == 200, answer.text
            return [row["uncertainty"] for row in answer.json["rows"]]

        with ThreadPoolExecutor(16) as pool:
            together = list(pool.map(post, bodies))
    for turn, found in enumerate(together):
        assert found == scorer.predict_uncertainty(batches[turn], sets[turn % 3]).tolist()


def test_all_feedback_of_concurrent_clients_counts(toy: SimpleNamespace, tmp_path: Path) -> None:
    service = app(MCMScorer(), toy.z_txt, promise=0.05, feedback=tmp_path / "state", threads=4)
    with serving(service) as port, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(port, "/feedback", {"correct": n % 3 > 0}), range(24)))
    assert {answer.status for answer in answers} == {200}
    assert sorted(answer.json["audits"] for answer in answers) == list(range(1, 25))
    report = RiskMonitor.from_pretrained(tmp_path / "state").report_
    assert (report.n, report.errors) == (24, 8)


@pytest.fixture(scope="module")
def small(toy: SimpleNamespace) -> Iterator[int]:
    """A service that takes 4,096 bytes."""
    with serving(app(MCMScorer(), toy.z_txt, limits=Limits(bytes=4096))) as port:
        yield port


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(small: int, declared: bool) -> None:
    size = 6000
    with closing(connect(small)) as sock:
        if declared:
            sock.sendall(head("/judge", f"content-length: {size}") + b" " * size)
        else:
            sock.sendall(head("/judge", "transfer-encoding: chunked"))
            sock.sendall(b"%x\r\n" % size + b" " * size + b"\r\n0\r\n\r\n")
        answer = answer_of(sock)
    assert answer.status == 413
    assert "larger than 4,096 bytes" in answer.json["detail"][0]["msg"]
    assert answer.headers["connection"] == "close"
    assert ask(small, "/judge", BODY).status == 200


def test_a_body_without_end_is_cut_off(small: int) -> None:
    with closing(connect(small)) as sock:
        sock.sendall(head("/judge", "transfer-encoding: chunked"))
        is_open = True
        while is_open:
            try:
                sock.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
            except OSError:
                is_open = False
    assert ask(small, "/judge", BODY).status == 200


def test_who_asks_first_is_told_before_sending(small: int) -> None:
    with closing(connect(small)) as sock:
        sock.sendall(head("/judge", "content-length: 1000000", "expect: 100-continue"))
        assert answer_of(sock).status == 413


@pytest.mark.parametrize(
    "wire",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /judge\r\n\r\n",
        head("/judge", "content-length: many"),
        head("/judge", "transfer-encoding: chunked") + b"zz\r\n",
        head("/judge", "x: " + "y" * (1 << 17)),
    ],
)
def test_what_is_no_request_is_refused_or_cut_off(small: int, wire: bytes) -> None:
    with closing(connect(small)) as sock:
        sock.sendall(wire)
        try:
            found = sock.recv(100)
        except ConnectionResetError:
            found = b""
    assert found == b"" or found.startswith(b"HTTP/1.1 4")
    assert ask(small, "/judge", BODY).status == 200


def test_a_client_that_goes_away_is_counted_and_harms_nobody(toy: SimpleNamespace) -> None:
    with serving(app(MCMScorer(), toy.z_txt)) as port:
        with closing(connect(port)) as sock:
            sock.sendall(head("/judge", "content-length: 1000") + b"{")
            wait_for(lambda: "vilu_in_flight 1.0" in ask(port, "/metrics").text)
        wait_for(lambda: 'vilu_requests_total{path="/judge",status="499"} 1.0' in ask(port, "/metrics").text)
        assert "vilu_in_flight 0.0" in ask(port, "/metrics").text


def test_other_paths_and_verbs_are_refused(small: int) -> None:
    assert ask(small, "/judge").status == 405
    assert ask(small, "/../../etc/passwd").status == 404
    assert ask(small, "/judge/x", BODY).status == 404


def test_slow_clients_are_told_so_and_others_are_served_meanwhile(toy: SimpleNamespace) -> None:
    with serving(app(MCMScorer(), toy.z_txt, limits=Limits(seconds=0.5))) as port:
        slow = [connect(port) for _ in range(8)]
        for sock in slow:
            sock.sendall(head("/judge", f"content-length: {len(BODY)}") + BODY[:5])
        assert ask(port, "/judge", BODY).status == 200
        for sock in slow:
            answer = answer_of(sock)
            assert answer.status == 408
            assert "did not arrive within 0.5 seconds" in answer.json["detail"][0]["msg"]
            sock.close()


def test_one_too_many_is_told_to_come_again(toy: SimpleNamespace) -> None:
    with serving(app(MCMScorer(), toy.z_txt, limits=Limits(concurrency=2))) as port:
        waiting = [connect(port) for _ in range(2)]
        for sock in waiting:
            sock.sendall(head("/judge", f"content-length: {len(BODY)}") + BODY[:5])
        wait_for(lambda: "vilu_in_flight 2.0" in ask(port, "/metrics").text)
        answer = ask(port, "/judge", BODY)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        for sock in waiting:  # who was there before is served
            sock.sendall(BODY[5:])
            assert answer_of(sock).status == 200
            sock.close()
        assert ask(port, "/judge", BODY).status == 200


# --- the command -----------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    """Look again and again; pytest's own patience is the only limit."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.02)


@contextmanager
def command(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `vilu serve` for the digits, and give the process and its port."""
    line = [sys.executable, "-m", "vilu_sdk", "serve", "my-scorer", "texts.npy", "--names", "names.txt"]
    process = subprocess.Popen([*line, "--port", "0", *more], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert " at http://127.0.0.1:" in first, first + process.stderr.read()
        port = int(first.rsplit(":", 1)[1])
        wait_for(lambda: process.poll() is not None or is_ready(port))
        assert process.poll() is None, process.stderr.read()
        yield process, port
    finally:
        process.kill()
        process.communicate()


def is_ready(port: int) -> bool:
    try:
        return ask(port, "/readyz").status == 200
    except OSError:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once")
def test_nothing_is_lost_where_it_is_told_to_end_in_the_middle(digits_folder: Path, tmp_path: Path) -> None:
    body = npy(np.load("new-images.npy")[:20])
    with command(
        digits_folder, "--drain", "600", "--promise", "0.1", "--feedback", str(tmp_path / "state")
    ) as (process, port):
        first = ask(port, "/judge", body, "application/x-npy").json
        begun = connect(port)  # whose body is half there when the signal comes
        wire = head("/judge", f"content-length: {len(body)}").replace(
            b"application/json", b"application/x-npy"
        )
        begun.sendall(wire + body[:100])
        wait_for(lambda: "vilu_in_flight 1.0" in ask(port, "/metrics").text)
        answered, started = [], threading.Barrier(9)

        def client(number: int) -> None:
            """Ask until told to go elsewhere."""
            started.wait()
            while True:
                answer = ask(port, "/judge", body, "application/x-npy")
                assert answer.status == 200
                assert answer.json == first
                answered.append(number)
                if answer.headers.get("connection") == "close" and ask(port, "/readyz").status == 503:
                    return

        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(client, number) for number in range(8)]
            started.wait()
            wait_for(lambda: len(answered) >= 16)
            assert ask(port, "/feedback", {"correct": [True, False]}).status == 200
            process.send_signal(signal.SIGTERM)
            for one in clients:
                one.result()
        process.send_signal(signal.SIGTERM)  # which does not wait for the others
        wait_for(lambda: not listens(port))
        begun.sendall(body[100:])
        last = answer_of(begun)
        assert last.status == 200
        assert last.json == first
        begun.close()
        assert process.wait() == 0
        assert process.stderr is not None
        assert "what was received was answered" in process.stderr.read()
    assert RiskMonitor.from_pretrained(tmp_path / "state").report_.n == 2


def listens(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="workers share a socket")
def test_workers_share_feedback_and_metrics(digits_folder: Path) -> None:
    body = npy(np.load("new-images.npy")[:5])
    with command(digits_folder, "--workers", "2", "--drain", "0", "--promise", "0.1", "--threads", "1") as (
        process,
        port,
    ):
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(port, "/judge", body, "application/x-npy"), range(24)))
            told = list(pool.map(lambda n: ask(port, "/feedback", {"correct": n > 3}), range(12)))
        assert len({answer.text for answer in answers}) == 1
        assert sorted(one.json["audits"] for one in told) == list(range(1, 13))
        for _ in range(4):  # whichever of them is asked
            text = ask(port, "/metrics").text
            assert "\nvilu_rows_total 120.0" in text
            assert "vilu_risk_errors 4.0" in text
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_what_is_wrong_is_said_before_anything_is_served(vilu: Any, digits_folder: Path) -> None:
    assert vilu("serve nowhere texts.npy").code == 3
    assert vilu("serve my-scorer nowhere.npy").code == 3
    assert vilu("serve my-scorer texts.npy --drift my-scorer").code == 3
    assert vilu("serve ViLUEstimator texts.npy").code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = vilu(f"serve my-scorer texts.npy --port {taken.getsockname()[1]}")
    assert run.code == 4
    assert "127.0.0.1" in run.err
    assert "address already in use" in run.err
    assert os.environ.get("VILU_SERVE_COMMAND") is None
