"""The web service of the examples, called through FastAPI's own test client."""

import runpy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from support.paths import EXAMPLES
from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import DigitsVLM

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

SCRIPT = EXAMPLES / "serve_with_fastapi.py"


@pytest.fixture(scope="module")
def module() -> dict:
    # pydantic looks for the names in annotations in the module of a class, so it must be one.
    return runpy.run_path(str(SCRIPT), run_name="serve_with_fastapi")


@pytest.fixture(scope="module")
def head(digits: DigitsVLM) -> ViLUEstimator:
    estimator = ViLUEstimator(logit_scale=digits.logit_scale, random_state=0)
    return estimator.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)


@pytest.fixture(scope="module")
def client(module, head, digits: DigitsVLM):
    from fastapi.testclient import TestClient

    with TestClient(module["create_app"](head, digits.z_txt, digits.class_names)) as client:
        yield client


def test_health(client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "scorer": "ViLUEstimator", "width": 32, "candidates": 10}


def test_scores_are_those_of_the_head(client, head, digits: DigitsVLM) -> None:
    rows = digits.z_img_test[:50]
    answer = client.post("/score", json={"z_img": rows.tolist()})
    assert answer.status_code == 200
    scores = answer.json()
    np.testing.assert_array_equal(scores["uncertainty"], head.predict_uncertainty(rows, digits.z_txt))
    assert scores["prediction"] == [digits.class_names[k] for k in head.predict(rows, digits.z_txt)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.1] * 31], "z_img has rows of width 31, expected 32"),
        ([], "z_img has no rows"),
        ([[0.1] * 32, [0.1] * 31], "rows of different lengths"),
        ([[0.1] * 32, [0.0] * 32], "z_img is all zero in row 1"),
        ([[1e300] * 32], "z_img has a NaN, infinite or overflowing value in row 0"),
    ],
)
def test_bad_embeddings_are_said_to_be_so(client, rows, message: str) -> None:
    answer = client.post("/score", json={"z_img": rows})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"z_img": "text"}, {"z_img": [["a"] * 32]}, {"z_img": [0.1] * 32}])
def test_what_is_no_batch_is_refused(client, body: dict) -> None:
    answer = client.post("/score", json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "z_img"]


def test_a_nan_is_refused(client) -> None:
    body = '{"z_img": [[' + ", ".join(["NaN"] * 32) + "]]}"
    assert (
        client.post("/score", content=body, headers={"content-type": "application/json"}).status_code == 422
    )


def test_too_many_rows_are_refused(client, module) -> None:
    answer = client.post("/score", json={"z_img": [[0.1] * 32] * (module["MAX_ROWS"] + 1)})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "too_long"


def test_threads_get_what_one_gets_alone(client, digits: DigitsVLM) -> None:
    batches = np.array_split(digits.z_img_test, 40)

    def post(batch: np.ndarray) -> dict:
        answer = client.post("/score", json={"z_img": batch.tolist()})
        assert answer.status_code == 200
        return answer.json()

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(post, batches))
    assert together == [post(batch) for batch in batches]


def test_what_does_not_belong_together_fails_at_the_start(module, head, digits: DigitsVLM) -> None:
    with pytest.raises(ValueError, match="width 31, expected 32"):
        module["create_app"](head, digits.z_txt[:, :31], digits.class_names)
    with pytest.raises(ValueError, match="names has 9 entries but z_txt has 10 rows"):
        module["create_app"](head, digits.z_txt, digits.class_names[:9])
    with pytest.raises(ValueError, match="not fitted yet"):
        module["create_app"](ViLUEstimator(), digits.z_txt, digits.class_names)
    assert module["create_app"](MCMScorer(), digits.z_txt, digits.class_names)
