"""What a command says: results on standard output, and all else through `logging` to standard error."""

import json
import logging
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

#: Levels of `--log-level`, and forms of `--log-format`.
LEVELS, FORMATS = ("debug", "info", "warning", "error"), ("text", "json")
LOG = logging.getLogger("vilu_sdk.cli")


class Printable:
    """Standard output for which control characters in texts of others are written out."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        """Write text that steers no terminal."""
        from vilu_sdk.inputs.escape import printable

        return self._stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def logged(arguments: Namespace) -> Iterator[None]:
    """Write what the library logs and warns of to standard error, as the command line says."""
    library = logging.getLogger("vilu_sdk")
    before = library.level
    handler = _Handler(arguments.log_format)
    library.addHandler(handler)
    least = logging.getLevelNamesMapping()[arguments.log_level.upper()]
    library.setLevel(max(least, logging.WARNING) if arguments.quiet else least)

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        from vilu_sdk.inputs.places import cut

        LOG.warning(cut(str(message)), extra={"fields": {"category": category.__name__}})

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        library.removeHandler(handler)
        library.setLevel(before)


class _Handler(logging.Handler):
    """Writes a line for each record: ``vilu: …``, or JSON with the time, the level and what was counted."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self._write = _as_json if form == "json" else _as_text

    def emit(self, record: logging.LogRecord) -> None:
        """Write to what is standard error now."""
        try:
            print(self._write(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _as_text(record: logging.LogRecord) -> str:
    kind = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
    from vilu_sdk.inputs.escape import masked, printable

    return f"vilu: {getattr(record, 'kind', kind)}{printable(masked(record.getMessage()))}"


def _as_json(record: logging.LogRecord) -> str:
    from vilu_sdk.inputs.escape import masked

    said = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": masked(record.getMessage()),
    }
    return json.dumps(said | getattr(record, "fields", {}), ensure_ascii=False, default=str)
