"""`vilu serve`: what a scorer says of images, over HTTP."""

import json
import os
import socket
import sys
import tempfile
from argparse import Namespace
from contextlib import ExitStack, suppress
from dataclasses import fields
from typing import Any

from vilu_sdk.cli._exits import DONE, Terminated
from vilu_sdk.cli._inputs import open_texts
from vilu_sdk.cli._scorers import choose_one
from vilu_sdk.cli._streams import LOG, logged
from vilu_sdk.compute.progress import set_progress
from vilu_sdk.inputs.extras import require
from vilu_sdk.serve.limits import Limits

# Where workers find the command line, and where they write their metrics.
COMMAND, METRICS = "VILU_SERVE_COMMAND", "PROMETHEUS_MULTIPROC_DIR"
# Idle connections live longer than load balancers keep theirs, a minute as a rule.
KEEP_ALIVE = 75
# Seconds beyond those of a body after which a stopping worker waits for no answer any more.
ANSWER_SECONDS = 30
# What a worker leaves only when it ends.
_ALL_ALONG = ExitStack()


def run(arguments: Namespace) -> int:
    """Serve until told to end."""
    uvicorn = require("uvicorn", "serve")
    several = arguments.workers > 1
    application = _application(arguments)  # also of several workers, to say at once what is wrong
    how: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": KEEP_ALIVE,
        "timeout_graceful_shutdown": int(arguments.seconds) + ANSWER_SECONDS,
    }
    with _listening(arguments.host, arguments.port) as sock:
        host, port = sock.getsockname()[:2]
        LOG.info(f"{arguments.scorer[0]} at http://{f'[{host}]' if ':' in host else host}:{port}")
        with suppress(KeyboardInterrupt, Terminated):  # which come once all is answered
            if not several:
                uvicorn.Server(uvicorn.Config(application, **how)).run(sockets=[sock])
            else:
                sock.close()
                watched = application.state.service.audits.nothing is None
                _run_workers(uvicorn, arguments, watched, how | {"host": host, "port": port})
    LOG.info("ended; what was received was answered")
    return DONE


def worker() -> Any:
    """Return the application of the command that started the workers."""
    arguments = Namespace(**json.loads(os.environ[COMMAND]))
    _ALL_ALONG.enter_context(logged(arguments))
    return _application(arguments)


def _run_workers(uvicorn: Any, arguments: Namespace, watched: bool, how: dict[str, Any]) -> None:
    """Start workers, which read what the command has read, and share metrics and feedback."""
    given = {name: value for name, value in vars(arguments).items() if name not in ("run", "commands")}
    with tempfile.TemporaryDirectory(prefix="vilu-serve-") as folder:
        if watched and arguments.feedback is None:
            given["feedback"] = os.path.join(folder, "feedback")
        os.environ[COMMAND] = json.dumps(given)
        os.environ.setdefault(METRICS, folder)
        uvicorn.run(f"{__name__}:worker", factory=True, workers=arguments.workers, **how)


def _application(arguments: Namespace) -> Any:
    import torch

    from vilu_sdk.selective import ShiftMonitor
    from vilu_sdk.serve import app

    set_progress(False)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # requests share the cores, and threads that wait for each other lose time
    chosen = choose_one(arguments)
    named = {name: getattr(arguments, name) for name in (field.name for field in fields(Limits))}
    return app(
        chosen.scorer if chosen.predictor is None else chosen.predictor,
        None if arguments.texts is None else open_texts(arguments),
        limits=Limits(**named),
        threads=arguments.threads or max(1, cores // arguments.workers),
        promise=arguments.promise,
        feedback=arguments.feedback,
        drift=None if arguments.drift is None else ShiftMonitor.from_pretrained(arguments.drift),
        drain=arguments.drain,
    )


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        error.filename = f"{host}:{port}"
        raise
