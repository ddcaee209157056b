"""What the service says is what the verbs say, of everything that can be loaded."""

import asyncio
import io
import json
import pickle
import re
import threading
import time
from contextlib import suppress
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from support.all_scorers import EXAMPLES, fitted
from support.served import npy
from vilu_sdk import (
    CalibratedScorer,
    MahalanobisScorer,
    MCMScorer,
    SelectivePredictor,
    SetPredictor,
    TrustVLMScorer,
    ViLUEstimator,
)
from vilu_sdk.scale import score_partition
from vilu_sdk.selective import RiskMonitor, ShiftMonitor
from vilu_sdk.serve import Limits, app

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
NPY = "application/x-npy"


def client(*arguments: Any, **how: Any) -> Any:
    from fastapi.testclient import TestClient

    return TestClient(app(*arguments, **how))


def post(service: Any, body: Any, kind: str = "application/json") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return service.post("/judge", content=content, headers={"content-type": kind})


def named(toy: SimpleNamespace) -> dict[str, Any]:
    return {f"class {k}": row.tolist() for k, row in enumerate(toy.z_txt)}


@pytest.fixture(scope="module")
def mcm(toy: SimpleNamespace) -> Any:
    return client(MCMScorer(logit_scale=10.0), named(toy))


def test_candidates_without_names_have_those_of_the_fit_where_they_are_its(
    toy: SimpleNamespace, tmp_path: Any
) -> None:
    names, z, others = named(toy), toy.z_img[:7], toy.z_txt[::-1].copy()
    fit = (toy.z_img[:200], names, toy.labels[:200])
    vilu = ViLUEstimator(random_state=0).fit(*fit)
    judges: list[Any] = [
        *(vilu, MahalanobisScorer().fit(*fit), CalibratedScorer(TrustVLMScorer(), cv=2).fit(*fit)),
        SelectivePredictor(MCMScorer(), 0.5).fit(*fit),
        SelectivePredictor(vilu, 0.5).fit(toy.z_img[200:400], toy.z_txt, toy.labels[200:400]),
        SetPredictor(MCMScorer()).fit(*fit),
    ]
    for number, judge in enumerate(judges):
        judge.save_pretrained(tmp_path / str(number))
        judge = type(judge).from_pretrained(tmp_path / str(number))
        asked = {"z_img": z.tolist()}
        found = post(client(judge, toy.z_txt), asked)
        assert found.json()["rows"] == post(client(judge, names), asked).json()["rows"]
    for judge in (vilu, SelectivePredictor(MCMScorer(), 0.5).fit(*fit)):  # which take any candidates
        for texts in (others, toy.z_txt[:4], np.concatenate([toy.z_txt, others[:1]])):
            found = post(client(judge, texts), {"z_img": z.tolist()}).json()["rows"][0]
            assert not any("name" in column for column in found)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_each_scorer_says_what_score_says(scorer: Any, toy: SimpleNamespace) -> None:
    scorer, z = fitted(scorer, toy), toy.z_img[:7]
    expected = score_partition({"z": z}, scorer, named(toy))
    fixed = client(scorer, named(toy))
    answer = post(fixed, {"z_img": z.tolist()})
    assert answer.status_code == 200, answer.text
    for name, column in expected.items():
        assert [row[name] for row in answer.json()["rows"]] == column.tolist()
    assert post(fixed, npy(z), NPY).json() == answer.json()
    given = client(scorer)
    for _ in range(2):  # new to it, and known
        assert post(given, {"z_img": z.tolist(), "z_txt_set": named(toy)}).json() == answer.json()
    without_names = post(given, npy(z, toy.z_txt), NPY).json()["rows"]
    assert [row["uncertainty"] for row in without_names] == expected["uncertainty"].tolist()


def test_thresholds_and_sets_say_more(toy: SimpleNamespace) -> None:
    scorer = ViLUEstimator(random_state=0).fit(toy.z_img[:300], toy.z_txt, toy.labels[:300])
    rest, texts = (toy.z_img[300:], named(toy), toy.labels[300:]), named(toy)
    threshold = SelectivePredictor(scorer, 0.2).fit(*rest)
    z = toy.z_img[:9]
    rows = post(client(threshold, texts), {"z_img": z.tolist(), "ids": [*range(9)]}).json()["rows"]
    assert [row["accepted"] for row in rows] == threshold.accept(z, texts).tolist()
    assert [row["id"] for row in rows] == [*range(9)]
    for sets in (SetPredictor(scorer, 0.9).fit(*rest), SetPredictor(threshold, 0.9).fit(*rest)):
        rows = post(client(sets, texts), {"z_img": z.tolist()}).json()["rows"]
        assert [row["set"] for row in rows] == sets.predict_names(z, texts)
        assert ("accepted" in rows[0]) == (sets.threshold_in_use is not None)
    other = {"z_img": z.tolist(), "z_txt_set": toy.z_txt[::-1].tolist()}
    said = post(client(threshold), other).json()
    assert said["warnings"][0]["category"] == "PromiseWarning"


def test_prompts_are_averaged_as_everywhere(toy: SimpleNamespace) -> None:
    prompts = {"a": toy.z_txt[:2].tolist(), "b": toy.z_txt[2:5].tolist(), "c": toy.z_txt[5].tolist()}
    said = post(client(MCMScorer()), {"z_img": toy.z_img[:4].tolist(), "z_txt_set": prompts}).json()["rows"]
    assert [row["uncertainty"] for row in said] == MCMScorer().predict_uncertainty(
        toy.z_img[:4], prompts
    ).tolist()


def test_candidates_are_kept_by_content_within_a_bound(toy: SimpleNamespace) -> None:
    service = client(MCMScorer(), limits=Limits(kept=2))
    kept = service.app.state.service.judge
    for turn, texts in enumerate((toy.z_txt, toy.z_txt[1:], toy.z_txt, toy.z_txt[2:], toy.z_txt)):
        body = {"z_img": toy.z_img[:3].tolist(), "z_txt_set": texts.tolist()}
        said = [row["uncertainty"] for row in post(service, body).json()["rows"]]
        assert said == MCMScorer().predict_uncertainty(toy.z_img[:3], texts).tolist(), turn
        assert len(kept._kept) <= 2
    assert 'vilu_candidate_sets_total{known="true"} 2.0' in service.get("/metrics").text


def row(value: Any = 0.1) -> list[Any]:
    return [value] * 16


BAD = [
    (b"", 400, "not valid JSON"),
    (b"{", 400, "not valid JSON"),
    (b'"\xff"', 400, "UTF-8"),
    (b"[" * 100_000, 400, "nested too deep"),
    (b'{"z_img": ' + b"[" * 500 + b"]" * 500 + b"}", None, ""),
    (b'{"z_img": [[1]], "z_img": [[2]]}', 400, "comes twice"),
    (b'{"z_img": [[' + b"1" * 5000 + b"]]}", 400, "not valid JSON"),
    ([1], 422, "must be an object"),
    ({}, 422, "z_img is missing"),
    ({"z_img": "x.npy"}, 422, "must be a list"),
    ({"z_img": {"a": row()}}, 422, "must be a list"),
    ({"z_img": []}, 422, "no rows"),
    ({"z_img": row()}, 422, "two-dimensional"),
    ({"z_img": [row(), row()[:3]]}, 422, "z_img"),
    ({"z_img": [row("a")]}, 422, "real numbers"),
    ({"z_img": [row(None)]}, 422, "missing value"),
    ({"z_img": [row(True)]}, 422, "real numbers"),
    ({"z_img": [row()[:3]]}, 422, "width 3, expected 16"),
    ({"z_img": [row()], "path": "/etc/passwd"}, 422, "unknown field 'path'"),
    ({"z_img": [row()], "z_txt_set": [row()]}, 422, "fixed"),
    ({"z_img": [row()], "ids": [1, 2]}, 422, "ids has 2"),
    ({"z_img": [row()], "ids": [[1]]}, 422, "an id is"),
    ({"z_img": [row()] * 33}, 413, "at most 32"),
]


@pytest.mark.parametrize(("body", "status", "message"), BAD, ids=range(len(BAD)))
def test_bad_bodies_are_refused_and_say_why(
    toy: SimpleNamespace, body: Any, status: int | None, message: str
) -> None:
    answer = post(client(MCMScorer(), named(toy), limits=Limits(rows=32)), body)
    assert 400 <= answer.status_code < 500
    assert status is None or answer.status_code == status, answer.text
    assert message in answer.json()["detail"][0]["msg"]


def test_every_bad_row_is_named(mcm: Any) -> None:
    rows = [row(), row(0.0), row(), row(1e300), row()]
    for body, kind in (({"z_img": rows}, "application/json"), (npy(np.array(rows)), NPY)):
        answer = post(mcm, body, kind)
        assert answer.status_code == 422
        found = answer.json()["detail"]
        assert [one["loc"] for one in found] == [["body", "z_img", 1], ["body", "z_img", 3]]
        assert "all zero in row 1" in found[0]["msg"]
        assert "overflowing value in row 3" in found[1]["msg"]


def test_a_bad_candidate_is_named(toy: SimpleNamespace) -> None:
    service = client(MCMScorer())
    body = {"z_img": toy.z_img[:1].tolist(), "z_txt_set": [row(), row(0.0), row(-0.1)]}
    answer = post(service, body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "z_txt_set", 1]
    assert not service.app.state.service.judge._kept
    assert post(service, {"z_img": toy.z_img[:1].tolist()}).status_code == 422
    service = client(MCMScorer(), limits=Limits(candidates=5))
    assert post(service, body | {"z_txt_set": [row()] * 6}).status_code == 413
    assert post(service, body | {"z_txt_set": {"a": [row()] * 3, "b": [row()] * 3}}).status_code == 413


class Trap:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('unpickled')",))


def test_no_array_is_unpickled_and_none_is_larger_than_its_body(mcm: Any, toy: SimpleNamespace) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 16)}
    )
    good = npy(toy.z_img[:2])
    for body in (
        *(file.getvalue(), pickle.dumps(Trap()), huge.getvalue(), b"", good[:40], good[:-1], good + b"x"),
        *(npy(np.array(["a"])), npy(np.zeros((2, 16), bool)), npy(np.zeros((2, 16), complex))),
        *(npy(np.zeros((0, 16), np.float32)), npy(np.float32(1)), good + good + good, good + good),
    ):
        answer = post(mcm, body, NPY)
        assert answer.status_code in (400, 422), answer.text
        assert answer.json()["detail"][0]["msg"]
    rows = np.asfortranarray(toy.z_img[:5].astype(np.float64))
    assert post(mcm, npy(rows), NPY).json() == post(mcm, {"z_img": rows.tolist()}).json()
    assert post(mcm, good, "text/csv").status_code == 415


def test_feedback_feeds_the_monitor_and_is_kept(toy: SimpleNamespace, tmp_path: Any) -> None:
    how: dict[str, Any] = {"promise": 0.05, "feedback": tmp_path / "state"}
    audits = np.random.default_rng(0).random(60) > 0.3
    alone = RiskMonitor(0.05)
    for part in np.array_split(audits, 3):  # each time by a new process, as it were
        said = (
            client(MCMScorer(), named(toy), **how).post("/feedback", json={"correct": part.tolist()}).json()
        )
        report = alone.update(part)
        assert said["audits"] == report.n
        assert said["evidence"] == pytest.approx(report.evidence)
        assert said["broken"] == report.broken
    assert said["broken"]
    service = client(MCMScorer(), named(toy), **how)
    assert "vilu_risk_broken 1.0" in service.get("/metrics").text
    for body in ({}, {"correct": "yes"}, {"correct": [1, 5]}, {"correct": True, "n": 1}, [True]):
        assert service.post("/feedback", json=body).status_code == 422, body
    assert f"vilu_risk_audits {float(len(audits))}" in service.get("/metrics").text
    with pytest.raises(ValueError, match=r"watches a risk of 0\.05"):
        client(MCMScorer(), named(toy), promise=0.1, feedback=tmp_path / "state")
    answer = client(MCMScorer(), named(toy)).post("/feedback", json={"correct": True})
    assert answer.status_code == 409
    assert "promise" in answer.json()["detail"][0]["msg"]


def test_drift_is_looked_for_once_there_are_enough_images(toy: SimpleNamespace) -> None:
    monitor = ShiftMonitor(MCMScorer(), max_images=60, random_state=0).fit(toy.z_img[:200], toy.z_txt)
    service = client(MCMScorer(), named(toy), drift=monitor)
    with service:
        for _ in range(7):
            post(service, npy(np.abs(toy.z_img[:10])), NPY)
        service.app.state.service._pool.shutdown()  # once all is computed
        text = service.get("/metrics").text
    found = dict(line.split(" ") for line in text.splitlines() if line.startswith("vilu_drift"))
    assert float(found['vilu_drift_p_value{of="embeddings"}']) < 0.01
    assert found["vilu_drift_checks_total"] == "1.0"


def test_metrics_count_what_was_said(toy: SimpleNamespace) -> None:
    threshold = SelectivePredictor(MCMScorer(logit_scale=10.0), 0.3).fit(toy.z_img, toy.z_txt, toy.labels)
    service = client(threshold, toy.z_txt)
    rows = post(service, npy(toy.z_img[:50]), NPY).json()["rows"]
    post(service, b"{")
    found = dict(line.rsplit(" ", 1) for line in service.get("/metrics").text.splitlines())
    assert found['vilu_requests_total{path="/judge",status="200"}'] == "1.0"
    assert found['vilu_requests_total{path="/judge",status="400"}'] == "1.0"
    assert found["vilu_rows_total"] == "50.0"
    assert float(found["vilu_accepted_rows_total"]) == sum(one["accepted"] for one in rows)
    assert float(found["vilu_uncertainty_total"]) == pytest.approx(sum(one["uncertainty"] for one in rows))
    assert found['vilu_request_seconds_count{path="/judge"}'] == "2.0"
    assert found["vilu_in_flight"] == "0.0"


def test_openapi_has_examples_that_the_service_takes(toy: SimpleNamespace) -> None:
    texts = {"cat": [1.0, 0.0, 0.0], "dog": [0.0, 1.0, 0.0]}
    of_service, of_request = client(MCMScorer(), texts, promise=0.1), client(MCMScorer())
    paths = of_service.get("/openapi.json").json()["paths"]
    assert {"/judge", "/feedback", "/healthz", "/readyz", "/metrics"} <= set(paths)
    content = paths["/judge"]["post"]["requestBody"]["content"]
    examples = [example["value"] for example in content["application/json"]["examples"].values()]
    assert {"application/json", NPY} == set(content)
    for example in examples:
        answer = post(of_request if "z_txt_set" in example else of_service, example)
        assert answer.status_code == 200, answer.text
    content = paths["/feedback"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        answer = of_service.post("/feedback", json=example["value"])
        shown = paths["/feedback"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
        assert set(answer.json()) == set(shown)
    assert of_service.get("/healthz").json() == {"status": "ok"}
    assert of_service.get("/readyz").json() == {"status": "ready", "serves": "MCMScorer", "candidates": 2}


def test_what_does_not_go_together_fails_at_the_start(toy: SimpleNamespace) -> None:
    with pytest.raises(NotFittedError):
        app(ViLUEstimator(), toy.z_txt)
    with pytest.raises(TypeError, match="must be a scorer"):
        app("clip-b32-imagenet")
    head = ViLUEstimator(random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    with pytest.raises(ValueError, match="width 15, expected 16"):
        app(head, toy.z_txt[:, :15])
    with pytest.raises(ValueError, match="all zero"):
        app(MCMScorer(), np.zeros((3, 4)))
    groups = np.arange(len(toy.labels)) % 2
    of_groups = SelectivePredictor(MCMScorer(), 0.3).fit(toy.z_img, toy.z_txt, toy.labels, groups=groups)
    with pytest.raises(ValueError, match="thresholds of groups"):
        app(of_groups, toy.z_txt)
    with pytest.raises(TypeError, match="ShiftMonitor"):
        app(MCMScorer(), toy.z_txt, drift=MCMScorer())
    narrow = ShiftMonitor(MCMScorer()).fit(toy.z_img[:, :9], toy.z_txt[:, :9])
    with pytest.raises(ValueError, match="width 9, but the candidates have 16"):
        app(MCMScorer(), toy.z_txt, drift=narrow)
    for how in ({"threads": 0}, {"threads": 1.5}, {"threads": "2"}, {"drain": -1.0}, {"drain": np.nan}):
        with pytest.raises(ValueError, match=f"{next(iter(how))} must be .* at least"):
            app(MCMScorer(), toy.z_txt, **how)
    with pytest.raises(TypeError, match="drain must be a number, got str"):
        app(MCMScorer(), toy.z_txt, drain="2")


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "8", None, True, 1 + 1j])
def test_a_limit_is_a_number_above_0_and_is_named(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{name} must be"):
        Limits(**{name: value})


def test_a_request_is_counted_however_it_ends(toy: SimpleNamespace) -> None:
    """Also one whose task is cancelled, and one that nothing foresaw."""
    service = app(MCMScorer(), toy.z_txt).state.service

    async def cancelled(*_: Any) -> Any:
        raise asyncio.CancelledError

    async def broken(*_: Any) -> Any:
        raise KeyError("no such thing")

    for receive, status in ((cancelled, "499"), (broken, "500")):
        service._receive = receive
        with suppress(asyncio.CancelledError):
            asyncio.run(service._answer(SimpleNamespace(headers={}), "/judge", service._judge))
        said = service.metrics.text().decode()
        counted = re.findall(r'^vilu_requests_total\{.*status="(\d+)".*\} (\S+)$', said, re.MULTILINE)
        assert (status, "1.0") in counted
        assert "vilu_in_flight 0.0" in said


def test_other_threads_get_their_turn_while_json_is_parsed() -> None:
    from vilu_sdk.serve import bodies

    body = bytearray(
        json.dumps({"z_img": np.random.default_rng(0).normal(size=(1000, 400)).tolist()}).encode()
    )
    turns, done = [0], threading.Event()

    def wait() -> None:
        while not done.wait(0.001):
            turns[0] += 1

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.01)
    before = turns[0]
    bodies.parse(body)
    found = turns[0] - before
    done.set()
    thread.join()
    assert found >= 5


@pytest.mark.parametrize("path", ["/judge", "/feedback"])
def test_a_name_that_comes_twice_is_found_in_one_pass(path: str, mcm: Any) -> None:
    body = "{" + ",".join(f'"k{n}":0' for n in range(300_000)) + ',"k299999":0}'
    answer = mcm.post(path, content=body.encode(), headers={"content-type": "application/json"})
    assert (answer.status_code, "'k299999' comes twice" in answer.text) == (400, True)


@pytest.mark.parametrize("body", [b'{"\\ud800": 1}', b'{"z_img": [[1]], "ids": ["\\uDFFF"]}'])
@pytest.mark.parametrize("path", ["/judge", "/feedback"])
def test_half_a_surrogate_pair_is_refused(path: str, body: bytes, mcm: Any) -> None:
    answer = mcm.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "surrogate pair" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "shape", ["(((((1,32)", "(True, 32)", "(10**26, 0)", f"({10**26}, 0)", "()", "(32,)"]
)
def test_headers_of_numpy_that_say_nonsense_are_refused(shape: str, mcm: Any) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    answer = post(mcm, b"\x93NUMPY\x01\x00v\x00" + header + bytes(128), NPY)
    assert answer.status_code in (400, 422)
    assert not any(said in answer.text for said in ("len()", "interpreted", "dimension exceeded"))


def test_nothing_is_built_beyond_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    from vilu_sdk.serve import bodies

    monkeypatch.setattr(bodies, "to_numpy", lambda *_: pytest.fail("built"))
    for field in ("z_img", "ids"):
        found = {"z_img": [[1.0]], field: [[0]] * 5}
        with pytest.raises(bodies.Refused, match=r"at most 4 are taken|ids has 5"):
            bodies.read_body(bytearray(json.dumps(found).encode()), bodies.JSON, Limits(rows=4))
