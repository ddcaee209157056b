"""Scoring with Ray: what it costs beside plain processes, and that nothing is lost where some are killed.

Synthetic float16 embeddings in many files are scored by one plain process, by as many plain processes as
there are workers, each with its share of the files, and by Ray. Rates count from the moment all workers are
at work until the first has nothing left to do. CPU time is that of the processes that score, and of all
processes of a run, those of Ray itself included. Then a worker is killed in the middle of a run, and after
that a whole run, which is started again. Every output is compared with that of the plain process, bit by
bit. Processes use one thread each.

python benchmarks/scale_out.py
python benchmarks/scale_out.py --rows 65536 --candidates 100
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listens on the loopback interface, on every system
    "RAY_worker_niceness": "0",  # by default workers give way to whatever else runs
}


# In the command of a process of Ray that scores.
WORKER = "ray::MapWorker"
# Of processes by their numbers: command, CPU seconds and peak MB.
Members = dict[int, tuple[str, float, float]]


class Moment(NamedTuple):
    """What a run has used and done so far."""

    clock: float
    cpu_of_workers: float
    cpu: float
    largest_mb: float
    files: int


def work(engine: str, source: Path, output: Path, args: argparse.Namespace) -> None:
    """Score, in a process of its own."""
    import vilu_sdk

    texts = np.random.default_rng(1).normal(size=(args.candidates, args.d)).astype(np.float32)
    scorer = getattr(vilu_sdk, args.scorer)()
    if engine == "plain":
        from vilu_sdk.scale.job import score_to_folder

        score_to_folder(source, output, scorer, texts)
        return
    import ray

    from vilu_sdk.scale.ray import score_dataset

    ray.init(
        num_cpus=args.workers,
        include_dashboard=False,
        object_store_memory=256 << 20,
        _temp_dir=str(output.parent / "ray"),
    )
    score_dataset(source, scorer, texts, output=output, concurrency=args.workers)
    ray.shutdown()


def family(root: int) -> Members:
    """Find a process and all that descend from it."""
    parents, found = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold spaces.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                status = (entry / "status").read_text()
                command = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it has ended meanwhile
            peak = next((int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)
            parents[int(entry.name)] = int(fields[1])
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[int(entry.name)] = command, seconds, peak / 1024
    members = {root}
    while new := {pid for pid, parent in parents.items() if parent in members} - members:
        members |= new
    return {pid: found[pid] for pid in members if pid in found}


def watch(
    engine: str,
    shares: dict[Path, Path],
    args: argparse.Namespace,
    meddle: Callable[[Members, int], bool] = lambda members, files: False,
) -> list[Moment]:
    """Run until the end, or kill all once `meddle`, which sees the processes and the files done, says so."""
    names = ("rows", "files", "d", "candidates", "workers", "scorer")
    same = [f"--{name}={getattr(args, name)}" for name in names]
    log = tempfile.TemporaryFile()  # noqa: SIM115, open as long as the processes
    running = [
        subprocess.Popen(
            [sys.executable, __file__, *same, "--run", engine, str(source), str(output)],
            env=os.environ | SETTINGS,
            stdout=log,
            stderr=log,
        )
        for source, output in shares.items()
    ]
    seconds: dict[int, float] = {}
    workers: set[int] = set()
    moments, begin, peak = [], time.perf_counter(), 0.0
    while True:
        ended = None not in [process.poll() for process in running]
        members = {pid: item for process in running for pid, item in family(process.pid).items()}
        seconds |= {pid: cpu for pid, (_, cpu, _) in members.items()}
        peak = max([peak, *(memory for _, _, memory in members.values())])
        files = sum(len(list(output.glob("part-*.parquet"))) for output in shares.values())
        workers |= {pid for pid, (command, *_) in members.items() if engine == "plain" or WORKER in command}
        cpu = sum(seconds[pid] for pid in workers), sum(seconds.values())
        moments.append(Moment(time.perf_counter() - begin, *cpu, peak, files))
        if ended:
            break
        if meddle(members, files):
            for pid in members:
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    codes = [process.wait() for process in running]
    if ended and any(codes):
        log.seek(0)
        sys.exit(f"{engine} failed:\n{log.read().decode(errors='replace')[-5000:]}")
    return moments


def rates(moments: list[Moment], rows: int, args: argparse.Namespace, workers: int) -> list[float]:
    """Rows in a second of the clock and a worker, of the workers' CPU time, and of all CPU time."""
    first = next(moment for moment in moments if moment.files >= 2 * workers)
    last = next(moment for moment in moments if moment.files >= args.files - workers)
    done = rows // args.files * (last.files - first.files)
    by = (
        (last.clock - first.clock) * workers,
        last.cpu_of_workers - first.cpu_of_workers,
        last.cpu - first.cpu,
    )
    return [done / seconds for seconds in by]


def read(folder: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(folder)
    return {name: table[name].to_numpy() for name in table.column_names}


def check(folder: Path, expected: dict[str, np.ndarray], rows: int) -> None:
    """Raise unless each row is there once, with the same scores bit by bit."""
    found = read(folder)
    np.testing.assert_array_equal(found["row"], np.arange(rows))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1 << 20)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scorer", default="MCMScorer", help="one that needs no fit")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        engine, source, output = args.run
        work(engine, Path(source), Path(output), args)
        return

    rows = args.rows // args.files * args.files
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = root / "z_img"
        source.mkdir()
        rng = np.random.default_rng(0)
        for i in range(args.files):
            z = rng.standard_normal((rows // args.files, args.d), dtype=np.float32)
            np.save(source / f"img_emb_{i}.npy", z.astype(np.float16))
        shares = {}
        for worker in range(args.workers):
            (root / f"share_{worker}").mkdir()
            for i, number in enumerate(range(worker, args.files, args.workers)):
                os.link(source / f"img_emb_{number}.npy", root / f"share_{worker}" / f"img_emb_{i}.npy")
            shares[root / f"share_{worker}"] = root / f"scores_{worker}"
        print(
            f"{rows:,} rows of d = {args.d} in float16, {args.files} files, {args.candidates:,} candidates, "
            f"{args.scorer}, one thread each",
            flush=True,
        )

        columns = "rows/s per core", "rows/worker CPU s", "rows/CPU s", "CPU s with start", "largest process"
        print(f"{'run':<20}" + "".join(f"{column:>22}" for column in columns), flush=True)
        base: list[float] = []
        for label, engine, parts, workers in (
            ("1 plain process", "plain", {source: root / "plain"}, 1),
            (f"{args.workers} plain processes", "plain", shares, args.workers),
            (f"Ray, {args.workers} workers", "ray", {source: root / "ray_scores"}, args.workers),
        ):
            moments = watch(engine, parts, args)
            found = rates(moments, rows, args, workers)
            base = base or found
            cells = [f"{rate:,.0f} ({rate / first:.2f})" for rate, first in zip(found, base, strict=True)]
            cells += [f"{moments[-1].cpu:.0f}", f"{moments[-1].largest_mb:.0f} MB"]
            print(f"{label:<20}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
        expected = read(root / "plain")
        check(root / "ray_scores", expected, rows)
        print("Ray: complete, each row once, equal to the plain process")

        killed: list[int] = []

        def kill_worker(members: Members, files: int) -> bool:
            busy = [pid for pid, (command, *_) in members.items() if WORKER in command]
            if files >= args.files // 3 and busy and not killed:
                killed.append(files)
                os.kill(busy[0], signal.SIGKILL)
            return False

        watch("ray", {source: root / "worker_killed"}, args, kill_worker)
        assert killed
        check(root / "worker_killed", expected, rows)
        print(f"worker killed after {killed[0]} files: complete, each row once, equal to the plain process")

        output = root / "job_killed"
        watch("ray", {source: output}, args, lambda members, files: files >= args.files // 2)
        before = {path: path.stat() for path in output.glob("part-*.parquet")}
        watch("ray", {source: output}, args)
        check(output, expected, rows)
        for path, stat in before.items():
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)
        print(
            f"job killed after {len(before)} files and started again: complete, each row once, equal to the "
            f"plain process; those {len(before)} files were not touched"
        )


if __name__ == "__main__":
    main()
