"""A job goes on with the content that it began with, wherever that lies, and with no other."""

import os
import shutil
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from vilu_sdk import MCMScorer
from vilu_sdk.inputs import identity
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.scale import score_to_folder
from vilu_sdk.selective import SelectivePredictor

N, D = 3000, 4
RNG = np.random.default_rng(0)
Z_IMG = RNG.normal(size=(N, D)).astype(np.float16)
Z_TXT = RNG.normal(size=(5, D)).astype(np.float32)
MCM = MCMScorer(logit_scale=3.0)
PROBED = identity.probed(N)
MISSED = next(row for row in range(1000, N) if row not in PROBED)


def write_parquet(path, z):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(z.ravel()), D)
    pq.write_table(pa.table({"id": range(len(z)), "z": lists}), path, row_group_size=250, compression="none")


WRITERS = {
    "npy": np.save,
    "fortran.npy": lambda path, z: np.save(path, np.asfortranarray(z)),
    "npz": lambda path, z: np.savez(path, z=z),
    "compressed.npz": lambda path, z: np.savez_compressed(path, z=z),
    "safetensors": lambda path, z: save_file({"z": np.ascontiguousarray(z)}, path),
    "parquet": write_parquet,
}
KINDS = [*WRITERS, "npy folder", "parquet folder"]


def put(root, kind, z):
    """Write a source, and return its path."""
    name, *is_folder = kind.split()
    suffix = name.split(".")[-1]
    if not is_folder:
        WRITERS[name](root / f"z.{suffix}", z)
        return root / f"z.{suffix}"
    (root / "z").mkdir(exist_ok=True)
    for number, part in enumerate(np.array_split(z, 3)):
        WRITERS[name](root / "z" / f"z_{number}.{suffix}", part)
    return root / "z"


def files(source):
    return sorted(source.iterdir()) if source.is_dir() else [source]


def changed(what):
    z = Z_IMG.copy()
    if what == "one row":
        z[PROBED[700]] += 1
    elif what == "a row that is not probed":
        z[MISSED] += 1
    elif what == "all rows":
        z += 1
    elif what == "order":
        z = z[::-1]
    else:
        z[[MISSED, MISSED + 1500]] = z[[MISSED + 1500, MISSED]]
    return np.ascontiguousarray(z)


CHANGES = ["one row", "a row that is not probed", "all rows", "order", "two rows exchanged"]


def score(source, output, **options):
    return score_to_folder(source, output, MCM, Z_TXT, piece_rows=600, **options)


def state(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def hold_time(source, then):
    for path, (_, modified) in zip(files(source), then, strict=True):
        os.utime(path, ns=(modified, modified))


def times(source):
    return [(path.name, path.stat().st_mtime_ns) for path in files(source)]


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "killed"])
@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_other_content_is_refused_before_anything_is_written(tmp_path, kind, what, is_finished):
    """Also where names, sizes and times of modification are the same."""
    source = put(tmp_path, kind, Z_IMG)
    then = times(source)
    done = score(source, tmp_path / "out")
    if not is_finished:
        done.files[-1].unlink()
    before = state(tmp_path / "out")
    put(tmp_path, kind, changed(what))
    hold_time(source, then)
    with pytest.raises(ValueError, match=r"z\S* has changed since|bytes of rows here") as raised:
        score(source, tmp_path / "out")
    assert "score into another folder" in str(raised.value)
    assert state(tmp_path / "out") == before


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_large_source_what_was_scored_is_compared_where_the_time_is_another(
    tmp_path, monkeypatch, kind, what
):
    monkeypatch.setattr(identity, "WHOLE_BYTES", 0)
    source = put(tmp_path, kind, Z_IMG)
    score(source, tmp_path / "out")
    before = state(tmp_path / "out")
    time.sleep(0.01)
    put(tmp_path, kind, changed(what))
    with pytest.raises(ValueError, match=r"z\S* has changed since|bytes of rows here"):
        score(source, tmp_path / "out")
    assert state(tmp_path / "out") == before


@pytest.mark.parametrize("whole", [1 << 30, 0], ids=["small", "large"])
@pytest.mark.parametrize("how", ["touched", "written again", "moved", "copied", "renamed"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_content_goes_on(tmp_path, monkeypatch, kind, how, whole):
    monkeypatch.setattr(identity, "WHOLE_BYTES", whole)
    source = put(tmp_path, kind, Z_IMG)
    done = score(source, tmp_path / "out")
    done.files[-1].unlink()
    time.sleep(0.01)
    if how == "touched":
        for path in files(source):
            path.touch()
    elif how == "written again":
        put(tmp_path, kind, Z_IMG)
    elif how == "renamed":
        for path in files(source):
            path.rename(path.with_name(f"new_{path.name}"))
        source = source if source.is_dir() else source.with_name(f"new_{source.name}")
    else:
        (tmp_path / "elsewhere").mkdir()
        new = tmp_path / "elsewhere" / source.name
        if how == "moved":
            shutil.move(source, new)
        elif source.is_dir():
            shutil.copytree(source, new, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, new)
        source = new
    shutil.move(tmp_path / "out", tmp_path / "moved")
    again = score(source, tmp_path / "moved")
    assert again.found == len(done.files) - 1
    scores = pq.read_table(tmp_path / "moved")["uncertainty"].to_numpy()
    np.testing.assert_allclose(scores, MCM.predict_uncertainty(Z_IMG, Z_TXT), rtol=1e-5)


def test_what_differs_is_said_in_words(tmp_path):
    def refused(**options):
        with pytest.raises(ValueError, match="belongs to other work") as raised:
            score(tmp_path / "z", tmp_path / "out", **options)
        return str(raised.value)

    source = put(tmp_path, "npy folder", Z_IMG)
    score(source, tmp_path / "out")
    other = Z_IMG.copy()
    other[1000:1800] += 1
    put(tmp_path, "npy folder", other)
    of, bad = (np.diff(np.searchsorted(PROBED, (1000, stop)))[0] for stop in (2000, 1800))
    assert f"z_1.npy has changed since: {bad} of {of} probed rows differ" in refused()
    other = Z_IMG.copy()
    row = PROBED[PROBED > 2000][3]
    other[row] += 1
    np.save(source / "z_1.npy", Z_IMG[1000:2000])
    np.save(source / "z_2.npy", other[2000:])
    assert f"z_2.npy has changed since: row {row - 2000} differs" in refused()
    np.save(source / "z_2.npy", Z_IMG[2000:-1])
    assert "z_2.npy has 999 rows here, 1000 there" in refused()
    np.save(source / "z_2.npy", Z_IMG[2000:])
    np.save(source / "z_3.npy", Z_IMG[:10])
    assert "other work: z_3.npy is new; score" in refused()
    (source / "z_3.npy").unlink()
    (source / "z_2.npy").unlink()
    assert "other work: z_2.npy is missing; score" in refused()
    for number, part in enumerate(np.array_split(Z_IMG.astype(np.float32), 3)):
        np.save(source / f"z_{number}.npy", part)
    assert "rows of 4 × float32 here, 4 × float16 there" in refused()


def test_a_threshold_is_known_by_content_too(tmp_path):
    labels = MCM.predict(Z_IMG, Z_TXT)
    labels[:300] = (labels[:300] + 1) % 5
    source = put(tmp_path, "npy", Z_IMG)

    def predictor(risk):
        return SelectivePredictor(MCM, risk).fit(Z_IMG, Z_TXT, labels)

    score_to_folder(source, tmp_path / "out", predictor(0.5), Z_TXT)
    assert score_to_folder(source, tmp_path / "out", predictor(0.5), Z_TXT).found == 1
    predictor(0.5).save_pretrained(tmp_path / "saved")
    loaded = SelectivePredictor.from_pretrained(tmp_path / "saved")
    assert score_to_folder(source, tmp_path / "out", loaded, Z_TXT).found == 1
    with pytest.raises(ValueError, match=r"it differs in scorer\.\S*"):
        score_to_folder(source, tmp_path / "out", predictor(0.3), Z_TXT)


@pytest.mark.parametrize("kind", ["numpy", "torch", "map"])
def test_an_array_is_what_its_file_is(tmp_path, kind):
    """The identity of an array in memory, or mapped, is that of the same rows in a file but for the file."""
    import torch

    path = put(tmp_path, "npy", Z_IMG)
    array = {"numpy": Z_IMG, "torch": torch.from_numpy(Z_IMG), "map": np.load(path, mmap_mode="r")}[kind]
    here, there = identity.identify(array), identity.identify(open_embeddings(path))
    assert here == {**there, "files": []}
    assert identity.changes(here, there, "z_img") == []
    for what in CHANGES:
        other = identity.identify(changed(what))
        assert identity.changes(here, other, "z_img", "differs")[0].startswith("z_img differs: ")
