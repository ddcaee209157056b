"""A service: what a loaded scorer, threshold or sets say of images, over HTTP (extra ``serve``)."""

from typing import TYPE_CHECKING, Any

from vilu_sdk.serve.limits import Limits

if TYPE_CHECKING:
    import os

    from fastapi import FastAPI

__all__ = ["Limits", "app"]


def app(
    loaded: Any,
    z_txt_set: Any = None,
    *,
    limits: Limits | None = None,
    threads: int = 2,
    promise: float | None = None,
    feedback: "str | os.PathLike[str] | None" = None,
    drift: Any = None,
    drain: float = 0.0,
) -> "FastAPI":
    """Return an application that judges images; any ASGI server runs it, and ``vilu serve`` does.

    Parameters
    ----------
    loaded : scorer, threshold or SetPredictor
        Fitted, if it learns. Its thresholds must not be those of groups, which a request cannot name.
    z_txt_set : array-like of shape (K, d), optional
        Candidates of all requests, in any of their forms. Without names they get those of the fit, where they
        are its candidates. By default each request brings its own.
    limits : Limits, optional
        Limits of one request, and of the number of requests at once.
    threads : int
        Requests that are computed at once; others wait for their turn.
    promise : float, optional
        Risk in (0, 1) that ``/feedback`` watches; by default the one that a threshold, or sets, promise.
    feedback : path-like, optional
        Folder of the state of the `RiskMonitor` that ``/feedback`` feeds, which goes on from it and saves it
        before each answer; workers share it. By default the state is kept in memory, and each worker has
        one.
    drift : ShiftMonitor, optional
        Fitted. Every `max_images` images are compared with its calibration set, and ``/metrics`` has the
        p-values.
    drain : float
        Seconds to go on after SIGTERM: requests are still answered, ``/readyz`` returns 503, and connections
        are closed after their answer, so that a load balancer sends no more.

    Returns
    -------
    fastapi.FastAPI
        With ``POST /judge`` and ``/feedback``, ``GET /healthz``, ``/readyz``, ``/metrics`` and
        ``/openapi.json``. See ``docs/deploy.md``.

    Raises
    ------
    ImportError
        If the extra ``serve`` is not installed.
    TypeError
        If `loaded` is no scorer, or `drift` no `ShiftMonitor`.
    ValueError
        If it does not go with the candidates, has thresholds of groups, or a parameter is out of its range;
        if `feedback` watches another risk.
    sklearn.exceptions.NotFittedError
        If it learns and was not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import MCMScorer
    >>> from vilu_sdk.serve import app
    >>> service = app(MCMScorer(logit_scale=10.0), {"cat": [1.0, 0.0], "dog": [0.0, 1.0]})
    >>> from fastapi.testclient import TestClient
    >>> TestClient(service).post("/judge", json={"z_img": [[1.0, 0.9]]}).json()["rows"]
    [{'prediction': 0, 'uncertainty': 0.32..., 'name': 'cat'}]
    """
    from vilu_sdk.inputs.extras import require

    for module in ("fastapi", "prometheus_client"):
        require(module, "serve")
    from vilu_sdk.serve.application import Service
    from vilu_sdk.serve.judge import Judge
    from vilu_sdk.serve.watch import Audits, Drift

    limits = limits or Limits()
    judge = Judge(loaded, z_txt_set, kept=limits.kept)
    audits = Audits(loaded, promise, feedback)
    return Service(judge, limits, threads, audits, Drift(drift, judge.width), drain).application()


for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
