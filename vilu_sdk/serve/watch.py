"""What is watched while a service runs: the promised risk, by feedback, and drift of the images."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from vilu_sdk.inputs.values import as_path
from vilu_sdk.persistence.locks import PATIENCE, held
from vilu_sdk.persistence.storage import CONFIG_FILE
from vilu_sdk.selective import RiskMonitor, ShiftMonitor
from vilu_sdk.selective.risk import RiskReport
from vilu_sdk.selective.shift import ShiftReport


class Audits:
    """Feedback on judged images, for the monitor of the promised risk.

    Its state is that of the folder, which workers share: each reads it, adds what it was told, and saves it
    before it answers. Without a folder it is in memory.
    """

    def __init__(self, loaded: Any, promise: float | None, folder: Any) -> None:
        self.folder = None if folder is None else as_path(folder, "feedback")
        self._lock = threading.Lock()
        #: Why nothing is watched, if so.
        self.nothing: str | None = None
        try:
            self._monitor = RiskMonitor(loaded if promise is None else promise)
            promised = self._monitor.report_.promised
        except (TypeError, ValueError):
            if promise is not None or self.folder is not None:
                raise
            self.nothing = (
                "nothing served here promises a risk: serve a fitted threshold or sets, or pass promise="
            )
            return
        if self.folder is not None and (self.folder / CONFIG_FILE).exists():
            found = self._load()
            if not np.isclose(found.report_.promised, promised):
                raise ValueError(
                    f"feedback: {self.folder} watches a risk of {found.report_.promised:g}, but {promised:g} "
                    "is promised now; name a new folder."
                )

    def take(self, correct: Any) -> RiskReport:
        """Take audits of accepted predictions, and save what follows."""
        with self._lock:
            if self.folder is None:
                return self._monitor.update(correct)
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with held(self.folder, patience=PATIENCE):
                monitor = self._load()
                report = monitor.update(correct)
                monitor.save_pretrained(self.folder)
            return report

    def report(self) -> RiskReport | None:
        """Say what is known so far, if anything is watched."""
        if self.nothing is not None:
            return None
        with self._lock:
            return self._load().report_

    def _load(self) -> RiskMonitor:
        if self.folder is None or not (self.folder / CONFIG_FILE).exists():
            return self._monitor
        return RiskMonitor.from_pretrained(self.folder)


class Drift:
    """The last images, which are compared with the calibration set once there are enough."""

    def __init__(self, monitor: ShiftMonitor | None, width: int | None = None) -> None:
        if monitor is not None and not isinstance(monitor, ShiftMonitor):
            raise TypeError(f"drift must be a fitted ShiftMonitor, got {type(monitor).__name__}.")
        if monitor is not None and not hasattr(monitor, "n_features_in_"):
            raise ValueError("drift must be a fitted ShiftMonitor: call its fit with the calibration set.")
        if monitor is not None and width not in (None, monitor.n_features_in_):
            raise ValueError(
                f"drift was fitted on embeddings of width {monitor.n_features_in_}, but the candidates have "
                f"{width}; fit it with embeddings of this model."
            )
        self.monitor = monitor
        self._lock = threading.Lock()
        self._seen: list[np.ndarray[Any, Any]] = []
        self._busy = False

    def see(self, z_img: Any, check: Callable[[Callable[[], ShiftReport]], None]) -> None:
        """Take in judged images; where they are enough, and no check is under way, hand one to `check`."""
        monitor = self.monitor
        if monitor is None or z_img.shape[1] != monitor.n_features_in_:
            return
        with self._lock:
            self._seen.append(np.array(z_img, dtype=np.float32))
            if self._busy or sum(map(len, self._seen)) < monitor.max_images:
                # While a check runs, the latest images are kept and others go.
                while sum(map(len, self._seen[1:])) >= monitor.max_images:
                    del self._seen[0]
                return
            images, self._seen, self._busy = np.concatenate(self._seen), [], True

        def run() -> ShiftReport:
            try:
                return monitor.check(images)
            finally:
                self._busy = False

        check(run)
