"""Two processes end with the scorer of one, each from its own rows, and a death among them is no loss."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from support import distributed_program as program
from support.paths import SUPPORT
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.compute import distributed
from vilu_sdk.compute.distributed import own_rows, own_slices, process_group, rank, world_size
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.shards import open_embeddings
from vilu_sdk.inputs.task import check_task
from vilu_sdk.persistence.storage import read_folder
from vilu_sdk.scorers.posterior import classes
from vilu_sdk.scorers.probabilistic import exact_inputs
from vilu_sdk.training import feed, resume
from vilu_sdk.training.feed import Feed

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")


def torchrun(what, root):
    """Run the program in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [str(SUPPORT / "distributed_program.py"), what, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        for room, names in (
            (feed, ("BUFFER_ELEMENTS", "BLOCK_ELEMENTS")),
            (classes, ("SAMPLE", "SAMPLE_ELEMENTS")),
        ):
            for name in names:
                patch.setattr(room, name, getattr(room, name))
        program.small_buffers()
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("distributed")
    program.write(root)
    return root


@pytest.fixture(scope="module")
def alone(root, small):
    """What one process learns."""
    return {
        name: program.outcome(scorer.fit(*args, **more), args)
        for name, scorer, args, more in program.cases(root)
    }


class Killed(BaseException):
    """Stands for the death of the only process."""


@pytest.fixture(scope="module")
def found(root, alone):
    """What each of two processes found; they also go on with a fit that one process has left."""
    _, (_, paper, pairs, _), *_ = program.cases(root)
    write, left = resume.storage.write_folder, [30]

    def write_or_die(*args):
        write(*args)
        left[0] -= 1
        if not left[0]:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "EVERY_SECONDS", 0.0)
        patch.setattr(resume.storage, "write_folder", write_or_die)
        with pytest.raises(Killed):
            paper.fit(*pairs, checkpoint=root / "state")
    done = torchrun("fit", root)
    assert done.returncode == 0, done.stderr
    return [torch.load(root / f"found_{number}.pt", weights_only=False) for number in (0, 1)]


def apart(found, expected):
    """The largest difference of two sets of tensors."""
    assert found.keys() == expected.keys()
    return max(float((found[name].double() - value.double()).abs().max()) for name, value in expected.items())


def test_two_processes_learn_what_one_does(found, alone):
    differences = {name: apart(found[0][name], expected) for name, expected in alone.items()}
    assert max(differences.values()) < 2e-5, differences


def test_what_every_process_computes_whole_is_the_same_to_the_last_bit(found, alone):
    for name in ("ProbVLM, captions in files", "auto, feedback", "auto, captions in files", "MCM"):
        assert apart(found[0][name], alone[name]) == 0, name


def test_both_processes_have_the_same_scorer(found, alone):
    for name in alone:
        assert apart(found[0][name], found[1][name]) == 0, name


def test_they_agree_all_along_also_without_a_seed(found):
    first, second = found[0]["before the end"]
    assert apart(first, second) == 0


def test_each_reads_its_own_files(found):
    """But for the rows by which data are recognised. Calibration and the softmax head score all rows."""
    everything = {"entropy, calibrated", "softmax head", "softmax head, captions in files"}
    for ours in found:
        reads = {name: log for name, log in ours["reads"].items() if name not in everything}
        assert set(reads) == set(ours["reads"]) - everything
        for name, log in reads.items():
            captions = name == "temperature"
            for folder in {folder for folder, _ in log}:
                foreign = [n for other, n in log if other == folder]
                assert sum(foreign) <= exact_inputs.PROBED_ROWS, (name, captions, log)


def test_a_fit_that_one_process_left_is_ended_by_two(found, alone):
    assert apart(found[0]["resumed"], alone["ViLU, captions in files"]) < 2e-5


def test_processes_that_are_connected_already_stay_so(found, alone):
    assert apart(found[0]["joined"], alone["ViLU, labels"]) < 2e-5


def test_adapting_is_shared_too(found, root, small):
    (_, paper, args, _), *_ = program.cases(root)
    paper.fit(*args).adapt(args[0][:99], args[1], args[2][:99])
    assert apart(found[0]["adapted"], program.outcome(paper, args)) < 2e-5
    moved = ViLUEstimator(random_state=0).adapt(*args[:2])
    assert apart(found[0]["moved"], program.outcome(moved, args)) < 1e-6


def test_saving_from_all_processes_does_no_harm(found, root):
    (_, _, args, _), *_ = program.cases(root)
    saved = ViLUEstimator.from_pretrained(root / "saved")
    assert apart(found[0]["saved"], program.outcome(saved, args)) == 0


def test_one_process_speaks(found):
    assert [ours["warnings"] for ours in found] == [1, 0]


def test_other_verbs_need_no_other_process(found, root):
    (_, _, args, _), *_ = program.cases(root)
    assert np.array_equal(found[1]["on its own"], MCMScorer().predict(*args[:2]))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "other data",
            "ValueError: rank 1 .* z_img is not the same: row 7 differs. Pass the same settings and the",
        ),
        ("other settings", r"ValueError: rank 1 .* differs in scorer.params.lam \(0.1 there, 0.2 here\)"),
    ],
)
def test_processes_that_fit_different_things_say_so(found, case, message):
    for ours in found:
        assert re.match(message, ours[case])


def test_an_error_in_one_process_ends_the_other(found):
    assert re.match(
        "BadRowError: z_img has a NaN, infinite or overflowing value in row 630", found[1]["bad row"]
    )
    assert re.match("ProcessDiedError: another of the 2 processes of this fit", found[0]["bad row"])


def test_silence_counts_as_death(found):
    message = "ProcessDiedError: another of the 2 processes of this fit has died or does not answer"
    assert re.match(message, found[0]["silence"])


def test_a_killed_process_ends_the_job_and_one_process_goes_on(root, alone, found):
    done = torchrun("die", root)
    assert done.returncode != 0
    assert "has died or does not answer (this is rank 0" in done.stdout
    assert f"The last state of the fit is in {str(root / 'state')!r}: the same call goes on" in done.stdout
    steps = len(read_folder(root / "state")[1]["history"])
    assert 45 <= steps <= 50
    _, (_, paper, pairs, _), *_ = program.cases(root)
    taken = []
    hook = register_optimizer_step_post_hook(lambda *_: taken.append(1))
    paper.fit(*pairs, checkpoint=root / "state")
    hook.remove()
    assert len(taken) == len(paper.model_.loss_curve) - steps
    assert apart(program.outcome(paper, pairs), alone["ViLU, captions in files"]) < 2e-5
    assert not (root / "state").exists()


def test_a_timeout_is_above_zero():
    with pytest.raises(ValueError, match="timeout must be finite and above 0"), process_group(timeout=0):
        pass


def test_without_torchrun_nothing_is_shared(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with process_group():
        assert (rank(), world_size()) == (0, 1)
        assert not torch.distributed.is_initialized()


@pytest.fixture
def as_rank(monkeypatch):
    """Put this process in the place of one of several that need not talk."""

    def put(number, size):
        monkeypatch.setattr(distributed, "_rank", number)
        monkeypatch.setattr(distributed, "_size", size)

    return put


@pytest.mark.parametrize("files", [(7,), (600, 20, 20), (1, 1, 1, 1), (2, 50, 3, 3, 90), (1,)], ids=str)
def test_every_row_is_owned_once_and_files_whole(as_rank, tmp_path, files):
    for i, n in enumerate(files):
        np.save(tmp_path / f"part_{i}.npy", np.ones((n, 2), np.float32))
    rows = Rows(open_embeddings(tmp_path), "z_img")
    for size in (1, 2, 3, 4, 9):
        owned = []
        for number in range(size):
            as_rank(number, size)
            own = own_rows(rows)
            owned += range(len(rows))[own]
            assert [i for part in own_slices(rows) for i in range(len(rows))[part]] == list(
                range(len(rows))[own]
            )
            if len(files) >= size:
                assert {own.start, own.stop} <= {0, *np.cumsum(files).tolist()}
        assert owned == list(range(len(rows)))


@pytest.mark.parametrize("on_disk", [True, False])
def test_batches_of_all_ranks_are_those_of_one(as_rank, root, small, on_disk):
    known = np.load(root / "known.npz")
    z_img = open_embeddings(root / "img_emb") if on_disk else known["z_img"]
    task = check_task(z_img, known["z_txt"], np.arange(640) % 6)

    def batches(number, size):
        as_rank(number, size)
        return [batch.z for batch in Feed(task, 16, 2, torch.Generator().manual_seed(0))]

    whole, parts = batches(0, 1), [batches(number, 3) for number in range(3)]
    assert not on_disk or any(len(z) == 0 for z in parts[2])
    for one, *shared in zip(whole, *parts, strict=True):
        together = torch.cat(shared)
        assert torch.equal(together[together[:, 0].argsort()], one[one[:, 0].argsort()])
