"""What test_ray.py looks at: a real Ray with two workers, run as a process of its own.

python tests/support/ray_job.py FOLDER
"""

import atexit
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from vilu_sdk import MCMScorer
from vilu_sdk.scale import score_to_folder
from vilu_sdk.scale.ray import score_dataset

N, D, FILES, PIECE_ROWS = 24_000, 16, 6, 2500
rng = np.random.default_rng(0)
Z_IMG = rng.normal(size=(N, D)).astype(np.float16)
Z_TXT = rng.normal(size=(5, D)).astype(np.float32)


class Deadly(MCMScorer):
    """Kills its process where it meets a certain row for the first time."""

    def __init__(self, *, logit_scale: float = 100.0, row: int = 0, grave: str = "") -> None:
        super().__init__(logit_scale=logit_scale)
        self.row = row
        self.grave = grave

    def predict_uncertainty(self, z_img, z_txt_set):
        uncertainty = super().predict_uncertainty(z_img, z_txt_set)
        met = (np.asarray(z_img)[:, :D] == Z_IMG[self.row]).all(axis=1).any()
        if met and not Path(self.grave).exists():
            Path(self.grave).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return uncertainty


class Rewriting(MCMScorer):
    """Writes a file again once it has read rows of it, with the same bytes."""

    def __init__(self, *, logit_scale: float = 100.0, path: str = "") -> None:
        super().__init__(logit_scale=logit_scale)
        self.path = path

    def predict_uncertainty(self, z_img, z_txt_set):
        path = Path(self.path) / "img_emb_5.npy"
        if len(z_img) > 256 and (np.asarray(z_img)[0] == Z_IMG[20_000]).all():
            path.write_bytes(path.read_bytes())
        return super().predict_uncertainty(z_img, z_txt_set)


class Threaded(MCMScorer):
    """Gives the number of its threads for an uncertainty."""

    def predict_uncertainty(self, z_img, z_txt_set):
        return np.full(len(z_img), float(torch.get_num_threads()))


def state(folder: Path) -> dict[str, list[int]]:
    return {path.name: [path.stat().st_ino, path.stat().st_mtime_ns] for path in folder.glob("*.parquet")}


def main(root: Path) -> None:
    import ray

    source, scorer = root / "z_img", Deadly(row=17_000, grave=str(root / "grave"))
    source.mkdir()
    for i, z in enumerate(np.array_split(Z_IMG, FILES)):
        np.save(source / f"img_emb_{i}.npy", z)
    short = tempfile.mkdtemp(prefix="ray")  # paths of sockets may have 107 characters
    atexit.register(shutil.rmtree, short, ignore_errors=True)
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=128 << 20, _temp_dir=short)

    # A worker dies in the middle of a piece; then others go on with what is there, and the other way round.
    rows = score_dataset(source, scorer, Z_TXT, output=root / "out", piece_rows=PIECE_ROWS, concurrency=2)
    found = {"columns": rows.schema().names, "after": state(root / "out")}
    texts = {"z_txt_set": Z_TXT, "piece_rows": PIECE_ROWS}
    job = {"scorer": scorer, **texts}
    found["found by the loop"] = score_to_folder(source, root / "out", **job).found
    (root / "out" / "part-00004.parquet").unlink()
    score_dataset(source, output=root / "out", **job)
    found["finished by ray"] = state(root / "out")

    # What a user has done wrong is said without Ray's words around it.
    with contextlib.redirect_stderr(io.StringIO()):
        (root / "bad").mkdir()
        np.save(root / "bad" / "z.npy", np.concatenate([Z_IMG[:300], Z_IMG[:1] * np.nan]))
        try:
            score_dataset(root / "bad", MCMScorer(), Z_TXT, output=root / "bad_out")
        except ValueError as error:
            found["error"] = str(error)
    # Files that are others than at the beginning: between two runs, and under the actors.
    with contextlib.redirect_stderr(io.StringIO()):
        then = (source / "img_emb_2.npy").read_bytes()
        other = Z_IMG[8_000:12_000].copy()
        other[1234] += 1
        np.save(source / "img_emb_2.npy", other)
        for name, options in (
            ("changed", {"output": root / "out"} | job),
            ("changed under", {"output": root / "under", "scorer": Rewriting(path=str(source)), **texts}),
        ):
            try:
                score_dataset(source, **options)
            except ValueError as error:
                found[name] = str(error)
        (source / "img_emb_2.npy").write_bytes(then)
        found["as it was"] = len(score_dataset(source, output=root / "out", **job).take_all())
    try:
        score_dataset(rows, scorer, Z_TXT, output=root / "other")
    except ValueError as error:
        found["refused"] = str(error)

    # A Dataset of tensors, one of lists beside other columns, and paths without an output; all are lazy.
    numbers = pa.array([None if i % 5 == 4 else i for i in range(900)])
    block = pa.table({"number": numbers, "text": [None if i % 3 else f"text {i}" for i in range(900)]})
    lists = block.append_column("z", pa.array(list(Z_IMG[:900])))
    for name, dataset, others in (
        ("tensors", ray.data.from_numpy(Z_IMG[:900]), []),
        ("lists", ray.data.from_arrow(lists), block.column_names),
    ):
        scored = score_dataset(dataset, Threaded(), Z_TXT, num_cpus=1, concurrency=1)
        table = pa.concat_tables(ray.get(scored.to_arrow_refs()))
        found[name] = {
            "names": table.column_names,
            "kept": table.select(others).equals(block.select(others)),
            "prediction": table["prediction"].to_pylist(),
            "threads": sorted(set(table["uncertainty"].to_pylist())),
        }
    lazy = score_dataset(source, MCMScorer(), Z_TXT, piece_rows=10_000).take_all()
    found["lazy"] = [[row["row"], row["prediction"], row["uncertainty"]] for row in lazy]
    ray.shutdown()
    (root / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
