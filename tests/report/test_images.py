"""The images of a report: what they are called, their pictures, tables that sort, images of no candidate."""

import base64
import html
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from support.browser import CHROMIUM, Browser
from vilu_sdk import MCMScorer
from vilu_sdk.evaluation import evaluate
from vilu_sdk.report import report
from vilu_sdk.report._images import Images

MCM = MCMScorer(logit_scale=5)
HOSTILE = "<script>alert(1)</script>\"'&<b> $x_{ ]]>"


def tables(page: Path) -> dict[str, list[list[str]]]:
    """The texts of the rows of each table, by its caption."""
    found = {}
    for table in re.findall(r"<table.*?</table>", page.read_text(encoding="utf-8"), re.DOTALL):
        caption = html.unescape(re.findall(r"<caption>(.*?)</caption>", table)[0])
        body = table.partition("<tbody>")[2]
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("</tr>")[:-1]]
        found[caption] = [[html.unescape(cell) for cell in row] for row in rows]
    return found


def pixels_of(page: Path) -> list[str]:
    return re.findall(r'<img src="data:image/png;base64,[^"]+" alt="(image \d+)"', page.read_text("utf-8"))


def test_images_have_their_names_and_thumbnails(toy: SimpleNamespace, tmp_path: Path) -> None:
    data = (toy.z_img[:320], toy.z_txt, toy.labels[:320])
    pixels = np.random.default_rng(0).uniform(size=(320, 8, 8))
    paths = [Path("photos") / f"{HOSTILE.replace('/', '')}{row}.png" for row in range(320)]
    ids = [f"id<{row}>" for row in range(320)]
    for named, called in (({"paths": paths}, [path.name for path in paths]), ({"ids": ids}, ids)):
        page = report(MCM, *data, tmp_path / "page.html", thumbnails=pixels, top=4, **named)
        assert len(pixels_of(page)) == 8
        most = int(np.argmax(MCM.decision_function(*data[:2])))
        assert pixels_of(page)[0] == f"image {most}"
        listed = [
            row for caption, rows in tables(page).items() if "predictions of" in caption for row in rows
        ]
        assert len(listed) == 4
        every = tables(page)["All 320 images"]
        assert len(every) == 320
        assert all(row[1] == called[int(row[0])] for row in listed + every)


def test_thumbnails_of_every_kind_are_the_same_picture(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8)
    grey.flat[:2] = 0, 255
    Image.fromarray(grey).save(tmp_path / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees, as cameras write
    Image.fromarray(np.rot90(grey)).save(tmp_path / "b.png", exif=turned)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    kinds = [
        *(grey, grey / 255, grey.astype(np.float16) * 200, torch.tensor(grey), grey.tolist(), deep),
        *(Image.fromarray(grey), tmp_path / "a.png", str(tmp_path / "a.png"), tmp_path / "b.png"),
        *(np.repeat(grey[..., None], 3, 2), grey.astype(np.int64) - 1000),
    ]
    images = Images(len(kinds), None, None, kinds)
    shown = [images.cells(row)[1].partition(" alt")[0] for row in range(len(kinds))]
    assert shown == [shown[0]] * len(kinds)


PLAIN = {
    "white booleans": (np.ones((4, 4), bool), 255),
    "black booleans": (np.zeros((4, 4), bool), 0),
    "white fractions": (np.ones((4, 4, 3), np.float32), 255),
    "grey fractions": (np.full((4, 4), 0.2), 51),
    "white halves": (torch.ones(4, 4, dtype=torch.float16), 255),
    "white floats up to 255": (np.full((4, 4), 255.0), 255),
    "grey integers": (np.full((4, 4), 51), 51),
    "white of 16 bits": (np.full((4, 4), 65535, np.uint16), 255),
    "black integers": (np.zeros((4, 4), np.int64), 0),
    "no light": (np.full((4, 4), -7), 0),
    "grey of Pillow": (Image.new("F", (4, 4), 0.2), 51),
}


def shown_pixels(thumbnail: Any) -> np.ndarray:
    page = Images(1, None, None, [thumbnail]).cells(0)[1]
    data = base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", PLAIN)
def test_pictures_of_one_shade_have_it(kind: str) -> None:
    picture, shade = PLAIN[kind]
    assert (shown_pixels(picture) == shade).all()


@pytest.mark.parametrize("low", [-1.7e308, -1e-300, -3.0])
def test_numbers_of_any_span_go_from_black_to_white(low: float) -> None:
    assert shown_pixels(np.array([[low, -low], [0.0, low]]))[..., 0].tolist() == [[0, 255], [128, 0]]


def closed() -> Image.Image:
    image = Image.new("RGB", (4, 4))
    image.close()
    return image


def test_a_picture_that_cannot_be_read_is_named() -> None:
    deep = Image.new("I", (4, 4))
    deep.close()
    for broken in (closed(), deep, Image.new("L", (0, 0))):
        images = Images(2, None, None, [np.eye(3), broken])
        images.cells(0)
        with pytest.raises(ValueError, match=r"thumbnails\[1\] is no picture that can be read"):
            images.cells(1)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("C:\\photos\\a.png", "a.png"),
        ("photos\\a.png", "a.png"),
        ("\\\\server\\share\\a.png", "a.png"),
        ("C:/photos/a.png", "a.png"),
        ("photos/a.png", "a.png"),
        ("/photos/a:b\\c.png", "a:b\\c.png"),
        ("s3://bucket/a.png", "a.png"),
        ("a.png", "a.png"),
    ],
)
def test_files_go_by_their_last_part_wherever_the_list_was_made(path: str, name: str) -> None:
    assert Images(1, None, [path], None).cells(0) == ["0", name]


def test_captions_that_fill_no_batch_keep_their_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(45, 16))
    images = text + 1.5 * rng.normal(size=(45, 16))
    page = report(MCM, images, text, None, tmp_path / "page.html", batch_size=20, ids=range(100, 145))
    every = tables(page)["All 40 images"]
    assert all(int(row[1]) == 100 + int(row[0]) for row in every)


def test_images_of_none_have_a_section(toy: SimpleNamespace, tmp_path: Path) -> None:
    z_txt = toy.z_txt[:5]
    labels = np.where(toy.labels == 5, -1, toy.labels)
    data = (toy.z_img, z_txt, labels)
    metrics, novelty = evaluate(MCM, *data), MCM.novelty(toy.z_img, z_txt)
    page = report({"MCM": MCM}, *data, tmp_path / "page.html", top=3)
    text = page.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    said = text.partition(">Images of none of the candidates</h2>")[2].partition("</p>")[0]
    for value in ("unknown_share", "novelty_auc", "novelty_fpr95", "unknown_auc"):
        assert f"{100 * metrics[value]:.1f} %" in said
    assert f"{(labels == -1).sum()} images" in said
    found = tables(page)
    rows = [int(row[0]) for row in found["Images of none most like a candidate"]]
    unknown, known = np.flatnonzero(labels == -1), np.flatnonzero(labels != -1)
    assert rows == unknown[np.argsort(novelty[unknown], kind="stable")[:3]].tolist()
    rows = [int(row[0]) for row in found["Images of a candidate most like none"]]
    assert rows == known[np.argsort(-novelty[known], kind="stable")[:3]].tolist()
    page = report(MCM, toy.z_img, toy.z_txt, toy.labels, tmp_path / "page.html")
    assert "Images of none" not in page.read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_sorts_tables_and_runs_no_other_script(toy: SimpleNamespace, tmp_path: Path) -> None:
    labels = np.where(toy.labels == 5, -1, toy.labels)[:200]
    names = ["10", "9", "a", HOSTILE, "b"]
    page = report(
        {"MCM": MCM, "other": MCMScorer(logit_scale=1)},
        *(toy.z_img[:200], toy.z_txt[:5], labels, tmp_path / "page.html"),
        class_names=names,
    )
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</main>", "<script>document.title = 'taken'</script></main>"), "utf-8")

    def call(browser: Browser, which: str, column: str, then: str) -> Any:
        """Look for a table and the button of a column of it, and do something with both."""
        return browser.evaluate(
            f"""(() => {{
            const table = [...document.querySelectorAll("table.sorts")].find(
                one => (one.caption?.textContent ?? "").includes({which!r}));
            const head = [...table.tHead.rows[0].cells].find(one => one.textContent.includes({column!r}));
            const cells = () => [...table.tBodies[0].rows].map(row => row.cells[head.cellIndex].textContent);
            {then}
            }})()"""
        )

    with Browser() as browser:
        browser.open(page, 1280)
        assert browser.evaluate("document.title") != "taken"
        click = "head.firstElementChild.click(); return [head.ariaSort, cells()];"
        for column, kinds in (
            ("uncertainty", ["descending", "ascending"]),
            ("row", ["ascending", "descending"]),
        ):
            for kind in kinds:
                said, cells = call(browser, "All 200 images", column, click)
                assert said == kind
                values = [float(cell.rstrip("\N{NO-BREAK SPACE}%")) for cell in cells]
                assert values == sorted(values, reverse=kind == "descending")
        _, cells = call(browser, "All 200 images", "predicted", click)
        assert list(dict.fromkeys(cells)) == [HOSTILE, "9", "10", "a", "b"]
        assert call(browser, "All 200 images", "uncertainty", "return head.ariaSort") is None
        novelty = call(browser, "most like none", "novelty", click)[1]
        values = [float(cell.replace("\N{MINUS SIGN}", "-")) for cell in novelty]
        assert values == sorted(values, reverse=True)
        # With the keyboard alone.
        call(
            browser,
            "All 200 images",
            "row",
            "table.closest('details').open = true; head.firstElementChild.focus()",
        )
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r")
        assert call(browser, "All 200 images", "row", "return head.ariaSort") == "ascending"
        # The table of scorers too: its heads have a right edge and no class.
        said, cells = call(browser, "", "AUC", click)
        assert said == "descending"
        assert len(cells) == 2
