from itertools import product

import pytest
import torch

from vilu_sdk.compute import tiles
from vilu_sdk.scorers.base.among import Chunk
from vilu_sdk.scorers.paper.head import ViLUHead
from vilu_sdk.scorers.paper.recipe import PaperModel


@pytest.mark.parametrize("tile", [8, 4096])
@pytest.mark.parametrize(
    ("attention_scale", "predicted", "mcm_input", "frozen", "tied"),
    list(product([None, 3.0, 100.0], [True, False], [True, False], [True, False], [True, False])),
)
def test_scoring_with_the_texts_folded_in_gives_what_the_module_gives(
    attention_scale, predicted, mcm_input, frozen, tied, tile, monkeypatch
):
    monkeypatch.setattr(tiles, "TILE", tile)
    torch.manual_seed(0)
    head = ViLUHead(
        16,
        (8, 4),
        attention_scale=attention_scale,
        predicted=predicted,
        mcm_input=mcm_input,
        tied_values=tied,
    ).eval()
    z, text = (torch.nn.functional.normalize(torch.randn(n, 16), dim=1) for n in (50, 37))
    with torch.no_grad():
        if head.attention is not None:
            head.attention.frozen = frozen
            for weight in head.attention.parameters():
                weight += 0.3 * torch.randn(16, 16)
        expected = head(z, text, 50 * (z @ text.T))
        among = PaperModel(head, 50.0, 0.0, "bce", "adaptive", torch.empty(0)).among(text)
        torch.testing.assert_close(-among.decision(Chunk(z, among)), expected, rtol=0, atol=1e-5)
