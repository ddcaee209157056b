"""The state of a fit is of its data: one label, row or setting that is another is refused, in words."""

import shutil
import time

import numpy as np
import pytest

from vilu_sdk import LVUScorer, MCMScorer
from vilu_sdk.inputs import identity, open_embeddings
from vilu_sdk.persistence.storage import read_folder, write_folder
from vilu_sdk.training import resume

# More rows than are probed, and one that is not.
N, K, D = 2500, 6, 8
MISSED = next(row for row in range(N) if row not in identity.probed(N))
RNG = np.random.default_rng(0)
Z_TXT = RNG.normal(size=(K, D)).astype(np.float32)
LABELS = RNG.integers(K, size=N)
Z_IMG = (Z_TXT[LABELS] + RNG.normal(size=(N, D))).astype(np.float32)
CORRECT = MCMScorer().predict(Z_IMG, Z_TXT) == LABELS


class Killed(BaseException):
    """Stands for the death of the process."""


def lvu(**params):
    return LVUScorer(epochs=1, batch_size=500, hidden=(4,), random_state=0, **params)


def die(folder, scorer, args, monkeypatch):
    """Fit until the first state has been kept, and no further."""
    write = resume.storage.write_folder

    def write_and_die(*given):
        write(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(resume, "EVERY_SECONDS", 0.0)
        patch.setattr(resume.storage, "write_folder", write_and_die)
        with pytest.raises(Killed):
            scorer.fit(*args[:2], **args[2], checkpoint=folder)


def other(values, row=MISSED):
    """The same but for one row, which no probe looks at."""
    values = values.copy()
    kinds = {"i": lambda x: (x + 1) % K, "b": np.logical_not, "f": lambda x: x + 1}
    values[row] = kinds[values.dtype.kind](values[row])
    return values


def cases():
    """Yield a fit, the same with other data or settings, and what is said."""
    labels = (Z_IMG, Z_TXT, {"labels": LABELS})
    correct = (Z_IMG, Z_TXT, {"correct": CORRECT})
    pairs = (Z_IMG, Z_TXT[LABELS], {})
    not_probed = "has changed since: not in the 1,024 probed rows"
    probed = "has changed since: row 0 differs"
    yield labels, (other(Z_IMG), Z_TXT, labels[2]), {}, f"z_img {not_probed}"
    yield labels, (other(Z_IMG, 0), Z_TXT, labels[2]), {}, f"z_img {probed}"
    yield labels, (Z_IMG, other(Z_TXT, 2), labels[2]), {}, "z_txt has changed since: row 2 differs"
    yield labels, (Z_IMG, Z_TXT, {"labels": other(LABELS)}), {}, f"labels {not_probed}"
    yield labels, (Z_IMG, Z_TXT, {"labels": other(LABELS, 0)}), {}, f"labels {probed}"
    yield labels, correct, {}, "correct was given here only; labels was given there only"
    yield labels, labels, {"logit_scale": 50.0}, r"settings|logit_scale \(100.0 there, 50.0 here\)"
    yield correct, (Z_IMG, Z_TXT, {"correct": other(CORRECT)}), {}, f"correct {not_probed}"
    yield pairs, (Z_IMG, other(pairs[1]), {}), {}, f"z_txt {not_probed}"
    yield labels, (Z_IMG[:-1], Z_TXT, {"labels": LABELS[:-1]}), {}, "z_img has 2499 rows here, 2500 there"


@pytest.mark.parametrize("case", range(10))
def test_other_data_are_refused(tmp_path, monkeypatch, case):
    before, now, params, message = list(cases())[case]
    die(tmp_path, lvu(target="correct"), before, monkeypatch)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"belongs to another fit: .*{message}"):
        lvu(target="correct", **params).fit(*now[:2], **now[2], checkpoint=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("kind", ["map", "file", "folder"])
def test_files_are_known_by_content_and_not_by_place_or_time(tmp_path, monkeypatch, kind):
    def put(z, root):
        root.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            (root / "z").mkdir(exist_ok=True)
            for number, part in enumerate(np.array_split(z, 3)):
                np.save(root / "z" / f"z_{number}.npy", part)
            return open_embeddings(root / "z")
        np.save(root / "z.npy", z)
        return np.load(root / "z.npy", mmap_mode="r") if kind == "map" else open_embeddings(root / "z.npy")

    labels = {"labels": LABELS}
    expected = lvu().fit(put(Z_IMG, tmp_path / "a"), Z_TXT, **labels).loss_curve_
    die(tmp_path / "state", lvu(), (put(Z_IMG, tmp_path / "a"), Z_TXT, labels), monkeypatch)
    with pytest.raises(ValueError, match=r"z_img\S* has changed since: not in the 1,024 probed rows"):
        lvu().fit(put(other(Z_IMG), tmp_path / "b"), Z_TXT, **labels, checkpoint=tmp_path / "state")
    shutil.rmtree(tmp_path / "a")
    time.sleep(0.01)
    moved = put(Z_IMG, tmp_path / "elsewhere" / "a")
    again = lvu().fit(moved, Z_TXT, **labels, checkpoint=tmp_path / "state")
    np.testing.assert_array_equal(again.loss_curve_, expected)


def test_the_state_of_an_earlier_version_is_not_taken_for_one_of_these_data(tmp_path, monkeypatch):
    args = (Z_IMG, Z_TXT, {"labels": LABELS})
    die(tmp_path, lvu(), args, monkeypatch)
    config, tensors = read_folder(tmp_path)
    config["fit"] = {"scorer": {}, "data": {"z_img": [N, D], "z_txt": [K, D], "labels": "0" * 64}}
    write_folder(tmp_path, config, tensors)
    with pytest.raises(ValueError, match="kept by an earlier version"):
        lvu().fit(*args[:2], **args[2], checkpoint=tmp_path)
