"""The site: strictly built, every link leads somewhere, every block of code runs or says why not."""

import ast
import html
import importlib
import importlib.util
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
from PIL import Image

import vilu_sdk
from support.browser import CHROMIUM, Browser
from support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Pages whose console blocks a test of their own runs.
CONSOLES = {"command_line.md": "tests/cli/test_cli_docs.py"}
# Text that shows something, and no code.
PLAIN = {"text", "json", "yaml", "csv", "html"}
# Modules whose every public name is in the reference, and the names of those without `__all__`.
PUBLIC = {
    "vilu_sdk": None,
    "vilu_sdk.scorers": None,
    "vilu_sdk.evaluation": None,
    "vilu_sdk.selective": None,
    "vilu_sdk.labels": None,
    "vilu_sdk.displays": None,
    "vilu_sdk.report": None,
    "vilu_sdk.datasets": ["DigitsVLM", "load_digits_vlm"],
    "vilu_sdk.inputs": None,
    "vilu_sdk.scale": None,
    "vilu_sdk.serve": None,
    "vilu_sdk.export": None,
    "vilu_sdk.testing": None,
}


class Page(HTMLParser):
    """What a page links to, loads and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value is not None}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loads.append(found["href"])
        elif tag in ("script", "img", "iframe", "source", "video", "object") and "src" in found:
            self.loads.append(found["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Zensical builds, and keeps what it knows, beside its settings.
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "examples", "vilu_sdk"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "No issues found" in built.stderr
    subprocess.run([sys.executable, "docs/_hooks/gallery.py", "site/examples"], cwd=folder, check=True)
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_link_and_anchor_inside_the_site_resolves(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # shown at any address, so its links start at the root of the server
        for link in page.links + page.loads:
            address, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = path if not address else (path.parent / unquote(address)).resolve()
            if not target.is_file() or (
                anchor and target.suffix == ".html" and unquote(anchor) not in pages[target].anchors
            ):
                broken.append(f"{path.name}: {link}")
    assert not broken
    assert sum(len(page.links) for page in pages.values()) > 1000  # it did look


def test_the_navigation_has_every_page(site: Path) -> None:
    named = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)
    assert all((site / name).with_suffix(".html").is_file() for name in named)


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    foreign = [load for page in pages.values() for load in page.loads if re.match(r"([a-z]+:)?//", load)]
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    foreign += [
        url for style in styles for url in re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//[^)]+", style)
    ]
    assert not foreign


def test_formulas_are_mathml(site: Path, pages: dict[Path, Page]) -> None:
    count = 0
    for path in pages:
        text = path.read_text(encoding="utf-8")
        prose = re.sub(r"<(pre|code|script|math)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(r"\$\$|\\\(|\\\[|:math:|\.\. math|arithmatex", prose), path
        for formula in re.findall(r"<math.*?</math>", text, flags=re.DOTALL):
            words = "".join(ElementTree.fromstring(formula).itertext())
            assert words
            assert "\\" not in words, formula  # a command that was not understood
            count += 1
    assert count > 30


def test_every_public_name_is_in_the_reference(pages: dict[Path, Page]) -> None:
    anchors = set().union(*(page.anchors for page in pages.values()))
    for module, names in PUBLIC.items():
        for name in names or importlib.import_module(module).__all__:
            assert hasattr(importlib.import_module(module), name)
            value = getattr(importlib.import_module(module), name)
            homes = [home for home in PUBLIC if getattr(importlib.import_module(home), name, None) is value]
            assert {f"{home}.{name}" for home in homes} & anchors, f"{module}.{name}"


def test_parameters_have_the_defaults_of_the_signature(site: Path) -> None:
    compared = 0
    for path in (site / "scorers").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'<h2 id="vilu_sdk\.(\w+)"', text):
            items = re.findall(r'<li class="doc-section-item.*?</li>', text, flags=re.DOTALL)
            shown = " | ".join(" ".join(html.unescape(re.sub("<[^>]+>", "", item)).split()) for item in items)
            for parameter in inspect.signature(getattr(vilu_sdk, name)).parameters.values():
                default = re.search(rf"(?:^|\| ){parameter.name} \([^|]*?default: ([^|]*?) ?\) –", shown)
                assert default is not None, f"{name}.{parameter.name}"
                assert ast.literal_eval(default[1]) == parameter.default, f"{name}.{parameter.name}"
                compared += 1
    assert compared > 60


def blocks(page: Path) -> list[tuple[int, str, str, str]]:
    """Line number, language, code, and the line before, of each fenced block."""
    lines = page.read_text(encoding="utf-8").split("\n")
    found, start = [], None
    for number, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            if start is None:
                start = number
            else:
                language = lines[start].strip().strip("`").split(" ")[0]
                found.append((start + 1, language, "\n".join(lines[start + 1 : number]), lines[start - 1]))
                start = None
    assert start is None, f"{page.name}: the block of line {start} does not end"
    return found


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_every_block_of_code_runs_or_says_why_not(page: Path) -> None:
    if page.parent == DOCS / "examples":
        return  # tests/project/test_examples.py compares the whole page with a run
    for line, language, code, before in blocks(page):
        where = f"{page.name}, line {line}"
        assert language, f"{where}: say the language of the block, text where it is no code"
        skipped = re.fullmatch(r"<!-- not run: \S.{7,} -->", before.strip())
        run_by = re.fullmatch(r"<!-- run by (tests/[\w/]+\.py) -->", before.strip())
        if language == "console" and page.name in CONSOLES:
            assert page.name in (ROOT / CONSOLES[page.name]).read_text(encoding="utf-8")
        elif run_by:
            assert page.name in (ROOT / run_by[1]).read_text(encoding="utf-8"), where
        elif language == "python" and "+SKIP" not in code:
            # pytest runs these with all doctests; a statement without a prompt would be taken for output.
            assert code.lstrip().startswith(">>>") or skipped, f"{where}: not run"
        elif language not in PLAIN:
            assert skipped, f"{where}: not run; say why in a comment above"


def test_the_rule_for_blocks_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in (
        "```\nx\n```",
        "```python\nx = 1\n```",
        "```bash\nls\n```",
        "<!-- not run: -->\n```bash\nls\n```",
    ):
        page.write_text("\n" + text, encoding="utf-8")
        with pytest.raises(AssertionError):
            test_every_block_of_code_runs_or_says_why_not(page)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_rows_of_tables_have_the_cells_of_their_head_and_are_written_once(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    tables = re.findall(r"(?:^\|.*\n)+", text + "\n", flags=re.MULTILINE)
    for head, _, *rows in (table.splitlines() for table in tables):
        cells = [len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in (head, *rows)]
        assert len(set(cells)) == 1, head
        assert len(set(rows)) == len(rows), head


def test_commands_that_print_figures_exist() -> None:
    """Every script of the repository that a page calls is there and knows the options."""
    called = 0
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
        for script, rest in re.findall(r"python\s+((?:benchmarks|examples|docs)/[\w/]+\.py)([^`\n]*)", text):
            source = (ROOT / script).read_text(encoding="utf-8")
            for option in re.findall(r"--[a-z][\w-]*", rest):
                assert option in source, f"{page.name}: {script} {option}"
            called += 1
        for script in re.findall(r"`((?:benchmarks|examples|tests)/[\w/]+\.\w+)`", text):
            assert (ROOT / script).is_file(), f"{page.name}: {script}"
    assert called > 20


def test_places_of_decisions_exist() -> None:
    """Every module, class and function that the pages on the structure name is there."""
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("one_place.md", "architecture.md"))
    names = {name.removeprefix("vilu_sdk.") for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", text)}
    places = {name for name in names if not re.search(r"\.(json|safetensors|toml|py|md)$", name)}
    assert len(places) > 50
    for place in places:
        pkgutil.resolve_name(f"vilu_sdk.{place}")  # raises if there is none


def test_pictures_show_what_the_code_computes() -> None:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "_hooks" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("concepts.md", "open_world.md"))
    names = set()
    for name, _, numbers in module.pictures():
        path = DOCS / "img" / f"{name}.png"
        with Image.open(path) as image:
            drawn = dict(part.split(": ") for part in image.text["Description"].split("; "))
        assert drawn.keys() == numbers.keys()
        np.testing.assert_allclose(
            [float(value) for value in drawn.values()], list(numbers.values()), atol=0.01
        )
        assert path.stat().st_size < 60_000
        assert f"(img/{name}.png)" in text
        names.add(path.name)
        if name in ("roc", "reliability"):
            for value in drawn.values():
                assert f"{100 * float(value):.1f} %" in text
    assert names == {path.name for path in (DOCS / "img").glob("*.png")}


def test_the_picture_of_the_house_shows_the_floors_that_the_linter_holds() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    house, scorers = settings["tool"]["importlinter"]["contracts"]
    shown = re.findall(r'class="n">([^<]*)<', (DOCS / "img" / "house.svg").read_text(encoding="utf-8"))
    floors = [wing for floor in house["layers"] for wing in floor.split(" | ")]
    wings = {path.parent.name for path in (ROOT / "vilu_sdk").glob("*/__init__.py")} | {"labels"}
    assert [wing for wing in shown if wing in floors] == [wing for wing in floors if wing in wings]
    assert wings == set(floors) & wings
    rooms = {room for floor in scorers["layers"] for room in floor.split(" | ")}
    assert {path.stem for path in (ROOT / "vilu_sdk" / "scorers").iterdir()} - {
        "__init__",
        "__pycache__",
    } == rooms
    inside = {room for text in shown for room in text.split(", ")} - set(floors)
    assert inside <= rooms | {"official"}
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for wing in wings:
        assert f"`{wing}`" in page, wing


def test_sessions_are_marked_so_that_prompts_and_output_stay_behind(site: Path) -> None:
    """What `style.css` hides from the clipboard, in all blocks of all pages that begin with a prompt."""
    sessions = 0
    for path in site.rglob("*.html"):
        for code in re.findall(r"<code[^>]*>(.*?)</code>", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            if html.unescape(re.sub(r"<[^>]+>", "", code)).startswith(">>> "):
                assert '<span class="gp">' in code, path
                sessions += 1
    assert sessions > 100
    (rule,) = re.findall(r"\[data-md-copying\] :is\(([^)]*)\)", (site / "style.css").read_text())
    assert {".gp", ".go"} <= set(rule.split(", "))


def test_no_more_than_seven_tabs(site: Path) -> None:
    text = (site / "concepts.html").read_text(encoding="utf-8")
    assert 3 < text.count('class="md-tabs__item') <= 7


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_search_and_copies_work_from_files(site: Path) -> None:
    with Browser() as browser:
        browser.open(site / "index.html", 1280)
        browser.evaluate("document.querySelector('.md-search__button').click()")
        found = """(() => { const [dialog] = [...document.querySelectorAll('div')].filter(d => d.shadowRoot);
          return !dialog ? null : [...dialog.shadowRoot.querySelectorAll('a')].map(a => a.href); })()"""
        deadline = time.monotonic() + 60
        while browser.evaluate(found) is None:
            assert time.monotonic() < deadline, "no field to search in"
            time.sleep(0.1)
        browser.call("Input.insertText", text="calibration")
        while not any("selective.html" in link for link in browser.evaluate(found)):
            assert time.monotonic() < deadline, "search found nothing"
            time.sleep(0.1)
        assert not browser.complaints
        copied = """(() => { const code = document.querySelector('pre > code:has(.gp)');
          code.setAttribute('data-md-copying', ''); return code.innerText; })()"""
        code = browser.evaluate(copied)
        assert "import" in code
        assert ">>>" not in code
        compile(code, "copied", "exec")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_pages_are_read_without_network_on_a_wide_and_on_a_narrow_screen(site: Path) -> None:
    with Browser() as browser:
        names = (
            "index",
            "concepts",
            "scorers/index",
            "scorers/relu",
            "api/scorers",
            "evaluation",
            "examples",
        )
        for name in (*names, "examples/quickstart", "examples/image_moderation"):
            for width in (1280, 400):
                browser.open(site / f"{name}.html", width)
                assert not [url for url in browser.requests if not url.startswith(("file:", "data:"))]
                sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert browser.evaluate(sideways) == 0, f"{name} at {width}"
                if width == 1280:
                    code = "[...document.querySelectorAll('pre > code')]"
                    wide = f"{code}.some(block => block.scrollWidth > block.clientWidth)"
                    assert browser.evaluate(wide) is False, name
                if "<math" in (site / f"{name}.html").read_text(encoding="utf-8"):
                    assert (
                        browser.evaluate("document.querySelector('math').getBoundingClientRect().width") > 10
                    )
