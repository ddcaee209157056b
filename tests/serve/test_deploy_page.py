"""The walk at the top of docs/deploy.md, from data frames to the answers of a service."""

import io
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from support.paths import DOCS

for _module in ("fastapi", "prometheus_client", "pyarrow", "uvicorn"):
    pytest.importorskip(_module)
NUMBER = re.compile(r"-?\d+\.?\d*")


def test_the_walk_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "deploy.md").read_text(encoding="utf-8")
    block = r"<!-- run by tests/serve/test_deploy_page\.py -->\n```\w+\n(.*?)```"
    fit, report, serve, ask, rows = re.findall(block, page, re.DOTALL)
    monkeypatch.chdir(tmp_path)

    def check(code: str, shown: str) -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, "deploy.md", "exec"), {})
        printed = out.getvalue()
        assert NUMBER.split(printed) == NUMBER.split(shown), printed
        # The digits' towers are trained where this runs, and round as this machine does.
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (printed, shown)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.05, abs=0.05), printed

    check(fit, report)
    line, says = serve.splitlines()
    command = shlex.split(line.removeprefix("$ vilu ").replace("8000", "0"))
    process = subprocess.Popen(
        [sys.executable, "-m", "vilu_sdk", *command], stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stderr is not None
        first = process.stderr.readline().strip()
        assert first.rpartition(":")[0] == says.rpartition(":")[0], first + process.stderr.read()
        check(ask.replace("http://127.0.0.1:8000", first.partition(" at ")[2]), rows)
    finally:
        process.kill()
        process.communicate()
