"""What a service answers in a second, how long that takes, and in what memory, beside the bare call.

`vilu serve` runs in a process of its own. Clients, each with a connection that stays open, ask one after the
other for the time given; then the service is told to end in the middle of it, and requests that were sent and
got no whole answer are counted as lost. The bare call scores the same rows in this process, in one thread,
before and after. Memory is that of the service and its workers (proportional set size), after a tenth of the
time and at its end.

python benchmarks/serving.py                                    # ten classes, one image a request
python benchmarks/serving.py --candidates 1000                  # 1,000 in each request, as .npy
"""

import argparse
import http.client
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.scale import score_partition

D, TRAINED = 512, 2000


def npy(*arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def draw(classes: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A head of the default recipe, its texts, and images."""
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(classes, D)).astype(np.float32)
    labels = rng.integers(classes, size=TRAINED)
    images = (texts[labels] + 4 * rng.normal(size=(TRAINED, D))).astype(np.float32)
    return ViLUEstimator(random_state=0).fit(images, texts, labels), texts, images


class Client(threading.Thread):
    """Asks one after the other until told to go elsewhere."""

    def __init__(self, port: int, body: bytes, kind: str, started: threading.Barrier) -> None:
        super().__init__()
        self.port, self.body, self.kind, self.started = port, body, kind, started
        self.seconds: list[float] = []
        self.lost = 0

    def run(self) -> None:
        """Ask."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.started.wait()
        while True:
            try:
                connection.connect() if connection.sock is None else None
            except OSError:
                return
            start = time.perf_counter()
            try:
                connection.request("POST", "/judge", self.body, {"content-type": self.kind})
                answer = connection.getresponse()
                whole = answer.read()
            except (OSError, http.client.HTTPException):
                self.lost += 1
                return
            self.seconds.append(time.perf_counter() - start)
            assert answer.status == 200, whole
            if answer.headers.get("connection") == "close":
                return


def memory(process: int) -> float:
    """Megabytes of a process and its children."""
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            total += int(re.findall(r"^Pss: +(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.M)[0])
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except FileNotFoundError:
            continue
    return total / 1000


def bare(scorer: Any, images: np.ndarray, texts: np.ndarray, seconds: float) -> float:
    """Calls a second of the bare function, on rows as a request has them."""
    score_partition({"z": images}, scorer, texts)
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        score_partition({"z": images}, scorer, texts)
        calls += 1
    return calls / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=1, help="images of a request")
    parser.add_argument("--candidates", type=int, default=0, help="in each request; 0 for ten fixed ones")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="bodies of JSON in the place of .npy")
    parser.add_argument("--mcm", action="store_true", help="MCM in the place of the default recipe")
    given = parser.parse_args()
    scorer, texts, images = draw(given.candidates or 10)
    scorer = MCMScorer() if given.mcm else scorer
    rows = images[: given.rows]
    sent = (rows, texts) if given.candidates else (rows,)
    body, kind = npy(*sent), "application/x-npy"
    if given.json:
        body = json.dumps(
            dict(zip(("z_img", "z_txt_set"), (x.tolist() for x in sent), strict=False))
        ).encode()
        kind = "application/json"
    before = bare(scorer, rows, texts, min(5.0, given.seconds))
    with tempfile.TemporaryDirectory() as folder:
        scorer.save_pretrained(f"{folder}/head")
        np.save(f"{folder}/texts.npy", texts)
        line = [sys.executable, "-m", "vilu_sdk", "serve", f"{folder}/head"]
        line += [] if given.candidates else [f"{folder}/texts.npy"]
        line += ["--port", "0", "--workers", str(given.workers)]
        service = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        assert service.stderr is not None
        port = int(service.stderr.readline().rsplit(":", 1)[1])
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request("GET", "/readyz")
                assert connection.getresponse().status == 200
                break
            except OSError:
                time.sleep(0.2)
        started = threading.Barrier(given.clients + 1)
        clients = [Client(port, body, kind, started) for _ in range(given.clients)]
        for client in clients:
            client.start()
        started.wait()
        begun = time.perf_counter()
        time.sleep(given.seconds / 10)
        early = memory(service.pid)
        time.sleep(given.seconds * 0.9)
        late, answered = memory(service.pid), sum(len(client.seconds) for client in clients)
        lasted = time.perf_counter() - begun
        service.send_signal(signal.SIGTERM)
        for client in clients:
            client.join()
        code = service.wait()
    after = bare(scorer, rows, texts, min(5.0, given.seconds))
    times = 1000 * np.concatenate([client.seconds for client in clients])
    print(f"{type(scorer).__name__}, {given.clients} clients, {len(body):,} bytes of {kind} a request")
    print(f"requests a second    {answered / lasted:10.0f}")
    print(f"  the bare call      {(before + after) / 2:10.0f}   ({before:.0f} before, {after:.0f} after)")
    for name, value in zip(("p50", "p99", "longest"), np.percentile(times, [50, 99, 100]), strict=True):
        print(f"{name + ', ms':20} {value:10.1f}")
    print(f"memory, MB           {early:10.0f}   early, {late:.0f} at the end")
    print(f"lost                 {sum(one.lost for one in clients):10}   of {len(times)}; exit code {code}")


if __name__ == "__main__":
    main()
