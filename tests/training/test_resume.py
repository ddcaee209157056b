"""A fit that is killed and called again gives the weights of one left alone, bit for bit."""

import os
import random
import time
from multiprocessing import Pipe

import numpy as np
import pytest
import torch
from sklearn.base import clone

from support import processes
from support.data import draw_task
from support.processes import end, kill, start
from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ProbVLMScorer, ViLUEstimator
from vilu_sdk.persistence.storage import read_folder
from vilu_sdk.training import feed, resume


class Killed(BaseException):
    """Stands for the death of the process: nothing in the package may handle it."""


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(resume, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the process dies here, not the machine


@pytest.fixture
def small_buffers(monkeypatch):
    """Rows on disk are streamed through buffers of 64 rows (of 16 numbers), in blocks of 4."""
    monkeypatch.setattr(feed, "BUFFER_ELEMENTS", 64 * 16)
    monkeypatch.setattr(feed, "BLOCK_ELEMENTS", 4 * 16)


PAPER = PaperRecipe(epochs=3, batch_size=16, hidden=(8,), warmup_epochs=1, learning_rate=0.05)
SCORERS = {
    "LVU": LVUScorer(epochs=3, batch_size=16, hidden=(8,)),
    "ViLU": ViLUEstimator(recipe=PAPER),
    "ViLU, noise": ViLUEstimator(recipe=clone(PAPER).set_params(view_noise=0.5)),
    "ProbVLM": ProbVLMScorer(hidden=4, epochs=3, batch_size=16),
}


def weights(scorer):
    """Every learned number of a scorer."""
    if isinstance(scorer, ProbVLMScorer):
        modules, curve = [scorer.image_adapter_, scorer.text_adapter_], torch.tensor(scorer.loss_curve_)
    elif isinstance(scorer, LVUScorer):
        modules, curve = [scorer.head_], scorer.loss_curve_
    else:
        modules, curve = [scorer.model_.head], scorer.model_.loss_curve
    return torch.cat(
        [p.detach().ravel().double() for m in modules for p in m.parameters()] + [curve.double()]
    )


def die_after(monkeypatch, steps):
    """Kill the fit after some more steps, or during the write that follows the last of them."""
    left = [steps]
    write = resume.storage.write_folder

    def write_or_die(*args):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        write(*args)
        if left[0] == 0.5:
            raise Killed

    monkeypatch.setattr(resume.storage, "write_folder", write_or_die)
    return lambda: monkeypatch.setattr(resume.storage, "write_folder", write)


def fit_with_deaths(scorer, args, folder, monkeypatch, steps):
    """Fit, dying after each number of steps in turn."""
    for count in steps:
        revive = die_after(monkeypatch, count)
        with pytest.raises(Killed):
            scorer.fit(*args, checkpoint=folder)
        revive()
    return scorer.fit(*args, checkpoint=folder)


# Steps are 20 in an epoch of the toy's 320 rows; 20.5 dies right after the epoch's last state was written.
DEATHS = [[1], [20.5], [19.5, 2, 1.5, 30], [59.5]]


@pytest.mark.parametrize("steps", DEATHS, ids=str)
@pytest.mark.parametrize("name", SCORERS)
def test_dying_at_any_step_leaves_no_trace(toy, tmp_path, monkeypatch, every_step, name, steps):
    args = toy.z_img[:320], toy.z_txt, toy.labels[:320]
    scorer = SCORERS[name].set_params(random_state=3)
    alone = weights(scorer.fit(*args))
    steps = [min(step, 53.5) for step in steps] if name == "ProbVLM" else steps  # some rows are held out
    died = fit_with_deaths(scorer, args, tmp_path / "state", monkeypatch, steps)
    assert torch.equal(weights(died), alone)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", SCORERS)
def test_without_a_seed_the_stream_goes_on(toy, tmp_path, monkeypatch, every_step, name):
    args = toy.z_img[:320], toy.z_txt, toy.labels[:320]
    revive = die_after(monkeypatch, 31.5)
    scorer = SCORERS[name].set_params(random_state=None)
    with pytest.raises(Killed):
        scorer.fit(*args, checkpoint=tmp_path)
    revive()
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found = []
    for _ in range(2):  # the same state twice: what it goes on to is no longer random
        tmp_path.mkdir(exist_ok=True)
        for path, data in kept.items():
            (tmp_path / path).write_bytes(data)
        found.append(weights(scorer.fit(*args, checkpoint=tmp_path)))
    assert torch.equal(*found)
    assert not torch.equal(found[0], weights(scorer.fit(*args)))


@pytest.mark.parametrize("steps", [[1.5, 3.5, 4.5], [20.5, 25.5]], ids=str)
@pytest.mark.parametrize("kind", ["classes", "feedback", "captions"])
def test_rows_on_disk_go_on_in_the_buffer_where_they_were(
    toy, tmp_path, monkeypatch, every_step, small_buffers, kind, steps
):
    np.save(tmp_path / "z_img.npy", toy.z_img[:320])
    np.save(tmp_path / "z_txt.npy", toy.z_txt[toy.labels[:320]])
    z_img = np.load(tmp_path / "z_img.npy", mmap_mode="r")
    z_txt = np.load(tmp_path / "z_txt.npy", mmap_mode="r") if kind == "captions" else toy.z_txt
    if kind == "classes":
        more = {"labels": toy.labels[:320]}
    else:
        more = (
            {} if kind == "captions" else {"correct": MCMScorer().predict(z_img, z_txt) == toy.labels[:320]}
        )
    scorer = ViLUEstimator(recipe=PAPER, random_state=0)
    alone = weights(scorer.fit(z_img, z_txt, **more))
    for count in steps:
        revive = die_after(monkeypatch, count)
        with pytest.raises(Killed):
            scorer.fit(z_img, z_txt, **more, checkpoint=tmp_path / "state")
        revive()
    assert torch.equal(weights(scorer.fit(z_img, z_txt, **more, checkpoint=tmp_path / "state")), alone)


def test_what_follows_the_training_can_die_too(toy, tmp_path, monkeypatch):
    scorer = LVUScorer(epochs=2, batch_size=16, hidden=(8,), random_state=0)
    args = toy.z_img, toy.z_txt, toy.labels
    alone = weights(scorer.fit(*args))

    def die(checkpoint):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("vilu_sdk.scorers.base.scorer.forget", die)
        with pytest.raises(Killed):
            scorer.fit(*args, checkpoint=tmp_path)
    _, state = read_folder(tmp_path)
    assert len(state["history"]) == len(scorer.loss_curve_)
    assert torch.equal(weights(scorer.fit(*args, checkpoint=tmp_path)), alone)


def test_a_checkpoint_changes_nothing(toy, tmp_path, every_step):
    args = toy.z_img[:320], toy.z_txt, toy.labels[:320]
    for scorer in SCORERS.values():
        scorer.set_params(random_state=5)
        assert torch.equal(weights(scorer.fit(*args)), weights(scorer.fit(*args, checkpoint=tmp_path)))


def test_scorers_that_fit_in_one_go_ignore_it(toy, tmp_path):
    MCMScorer().save_pretrained(tmp_path)
    MCMScorer().fit(toy.z_img, toy.z_txt, toy.labels, checkpoint=tmp_path)
    ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels, checkpoint=tmp_path / "new")
    assert MCMScorer.from_pretrained(tmp_path)
    assert not (tmp_path / "new").exists()


def others(toy):
    """Yield fits that are not the one that was cut short, and what is said of each."""
    lvu, args = SCORERS["LVU"].set_params(random_state=0), (toy.z_img, toy.z_txt, toy.labels)
    yield (
        LVUScorer(epochs=4, batch_size=16, hidden=(8,), random_state=0),
        args,
        r"params.epochs \(3 there, 4 here\)",
    )
    yield LVUScorer(epochs=3, batch_size=16, hidden=(8,), random_state=1), args, "params.random_state"
    yield SCORERS["ViLU"], args, "'LVUScorer' there, 'ViLUEstimator' here"
    yield lvu, (toy.z_img[:600], toy.z_txt, toy.labels[:600]), "z_img has 600 rows here, 640 there"
    yield (
        lvu,
        (toy.z_img, toy.z_txt, np.roll(toy.labels, 1)),
        "labels has changed since: .* of 640 probed rows differ",
    )
    yield (
        lvu,
        (toy.z_img[::-1].copy(), toy.z_txt, toy.labels),
        "z_img has changed since: 640 of 640 probed rows differ",
    )
    yield lvu, (toy.z_img, toy.z_txt + 0.1, toy.labels), "z_txt has changed since: .* differ"


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.LabelWarning")
@pytest.mark.parametrize("case", range(7))
def test_the_checkpoint_of_another_fit_is_refused(toy, tmp_path, monkeypatch, every_step, case):
    revive = die_after(monkeypatch, 5)
    with pytest.raises(Killed):
        SCORERS["LVU"].set_params(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels, checkpoint=tmp_path)
    revive()
    scorer, args, message = list(others(toy))[case]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"belongs to another fit: .*{message}"):
        scorer.fit(*args, checkpoint=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_holds_something_else_is_refused_and_kept(toy, tmp_path, every_step):
    MCMScorer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a saved scorer and not the state of a fit"):
        SCORERS["LVU"].fit(toy.z_img, toy.z_txt, toy.labels, checkpoint=tmp_path)
    assert MCMScorer.from_pretrained(tmp_path)


def test_other_files_in_the_folder_stay(toy, tmp_path, every_step):
    (tmp_path / "notes.txt").write_text("mine")
    SCORERS["LVU"].fit(toy.z_img, toy.z_txt, toy.labels, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@processes.kills
def test_a_process_killed_again_and_again_ends_with_the_same_weights(tmp_path):
    draw = random.Random(0)
    task = draw_task(2000, 5, noise=1.0)
    data = (task.z_img, task.z_txt, task.labels)
    scorer = LVUScorer(epochs=4, batch_size=32, hidden=(16,), random_state=0)
    alone, state, killed = (tmp_path / name for name in ("alone", "state", "killed"))
    assert end(start(processes.fit, scorer, data, alone, None)) == 0
    steps = []
    for writes in (1, 40, draw.randint(2, 60), draw.randint(2, 60)):
        here, told = Pipe(duplex=False)
        child = start(processes.fit_and_tell, scorer, data, state, told)
        told.close()
        with here:
            for _ in range(writes):
                here.recv_bytes()
            time.sleep(draw.uniform(0, 0.01))
            kill(child)
        steps.append(len(read_folder(state)[1]["history"]))
    assert steps == sorted(set(steps))  # each fit went further than the one before
    assert end(start(processes.fit, scorer, data, killed, state)) == 0
    alone, killed = (read_folder(name)[1] for name in (alone, killed))
    assert all(torch.equal(alone[name], killed[name]) for name in alone)
    assert not state.exists()
