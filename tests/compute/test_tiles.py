import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vilu_sdk.compute import tiles
from vilu_sdk.compute.posterior import FewPosterior, LinearPosterior
from vilu_sdk.compute.softmax import NARROW, SplitSoftmax, first_maximum, log_softmax, softmax
from vilu_sdk.compute.tiles import BITS, Logits, Peak, nearest


def log_odds(z, logits, column=None, *, search=False):
    found = Peak(z, logits, column, search=search)
    return found.log_odds if column is None else found.log_odds_of


@pytest.fixture(params=[5, 64, 4096])
def tile(request, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", request.param)
    return request.param


def rows(n, k, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.nn.functional.normalize(torch.randn(n, d, generator=generator), dim=1)
    text = torch.nn.functional.normalize(torch.randn(k, d, generator=generator), dim=1)
    return z, text


@given(st.integers(1, 700), st.integers(1, 4), st.integers(0, 99))
def test_the_first_maximum_is_what_comparing_all_columns_finds(k, levels, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-levels, levels, (7, k), generator=generator).float()  # full of ties
    top, column = first_maximum(values)
    assert torch.equal(top, values.amax(dim=1))
    assert torch.equal(column, (values == top[:, None]).int().argmax(dim=1))


@pytest.mark.parametrize("k", [1, 6, 333, 700])
def test_the_nearest_text_is_the_first_of_equals_in_any_tile(k, tile):
    z, text = (torch.round(4 * part) for part in rows(40, k))  # small integers, whose products are exact
    text = torch.cat([text, text])
    assert torch.equal(nearest(z, text), (z @ text.T).argmax(dim=1))
    assert (nearest(z, text) < k).all()


@pytest.mark.parametrize("scale", [1.0, 100.0, 10_000.0])
@pytest.mark.parametrize("k", [2, 6, 333, 700])
def test_log_odds_by_tiles_are_those_of_the_whole_softmax(k, scale, tile):
    # At the largest scale every row has left the range in which a plain sum of exponentials works.
    z, text = rows(40, k)
    logits = scale * (z @ text.T)
    chosen = torch.arange(40) % k
    for column in (None, chosen):
        found = log_odds(z, Logits.zero_shot(text, scale), column)
        expected = SplitSoftmax(logits.double(), column).log_odds
        torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=2e-6 * max(scale, 1))


def test_log_odds_of_hopeless_and_of_certain_columns_stay_finite_and_exact():
    logits = torch.tensor([[0.0, 500.0, 0.0], [500.0, 0.0, 0.0]])
    found = log_odds(torch.eye(2), Logits(BITS * logits), torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(found, torch.tensor([500.0, math.log(2) - 500]))


@pytest.mark.parametrize("k", [2, 300, 700])
def test_log_odds_are_as_exact_at_any_lead_and_with_any_ties(k, tile):
    leads = torch.linspace(0, 200, 401)
    logits = torch.randn(401, k, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(401), torch.arange(401) % k] = logits.amax(dim=1) + leads
    tied = logits.clone()
    tied[:, -1] = tied[:, 0] = tied.amax(dim=1)
    for values in (logits, tied):
        bits = BITS * values
        found = log_odds(torch.eye(401), Logits(bits))
        expected = SplitSoftmax(bits.double() / BITS).log_odds
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("offsets", [None, torch.tensor([5.0, -2.0, 0.5])])
def test_logits_in_nats_are_those_in_bits_in_another_unit(offsets):
    z, text = rows(6, 3)
    logits = Logits(40 * text.T, offsets)
    torch.testing.assert_close(logits.in_nats(z), logits(z) * math.log(2))


@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (7, 10), (700, 3), (5, NARROW), (5, NARROW + 1)])
def test_products_with_few_candidates_are_those_of_any_other(n, k, offsets, monkeypatch):
    monkeypatch.setattr(tiles, "ROWS", 300)
    z, text = rows(n, k)
    offset = torch.linspace(-1, 1, k) if offsets else None
    found = Logits(text.T, offset)(z)
    torch.testing.assert_close(found, z @ text.T + (offset if offsets else 0.0))
    torch.testing.assert_close(log_softmax(found), torch.log_softmax(found, dim=1))
    torch.testing.assert_close(softmax(found), torch.softmax(found, dim=1))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_few_logits_say_of_any_column_what_many_say(n, k, seed):
    z, text = rows(n, k + 1, seed=seed)
    logits = Logits.zero_shot(text, 30.0)
    few, many = FewPosterior(logits.in_nats(z)), LinearPosterior(z, logits)
    likeliest = many.top
    assert torch.equal(few.top, likeliest)
    one_other = likeliest.clone()
    one_other[0] = (likeliest[0] + 1) % (k + 1)
    for column in (None, likeliest, likeliest.clone(), one_other):
        torch.testing.assert_close(few.log_odds(column), many.log_odds(column), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(few.log_sum, many.log_sum, rtol=1e-5, atol=1e-4)


def test_of_a_single_candidate_all_that_is_said_is_a_number():
    alone = SplitSoftmax(torch.tensor([[3.0], [-70.0]]))
    torch.testing.assert_close(alone.log_sum, torch.tensor([3.0, -70.0]))
    torch.testing.assert_close(alone.probabilities, torch.ones(2, 1))
    assert (alone.log_odds < -1e30).all()
