"""What Prometheus is told, by one process or, where PROMETHEUS_MULTIPROC_DIR is set, by several."""

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

from vilu_sdk.scale.partition import ACCEPTED, UNCERTAINTY
from vilu_sdk.selective.risk import RiskReport
from vilu_sdk.selective.shift import ShiftReport
from vilu_sdk.serve.judge import Said
from vilu_sdk.serve.watch import Audits

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters and gauges of one worker, and how all of them are read."""

    def __init__(self, audits: Audits) -> None:
        own = self._own = CollectorRegistry()
        self._audits = audits
        self.requests = Counter(
            "vilu_requests", "Requests, by their path and status", ["path", "status"], registry=own
        )
        self.seconds = Histogram(
            "vilu_request_seconds",
            "From the head of a request to its answer",
            ["path"],
            registry=own,
            buckets=BUCKETS,
        )
        self.in_flight = Gauge(
            "vilu_in_flight", "Requests being answered", registry=own, multiprocess_mode="livesum"
        )
        self.rows = Counter("vilu_rows", "Images judged", registry=own)
        self.accepted = Counter("vilu_accepted_rows", "Images whose prediction was accepted", registry=own)
        self.uncertainty = Counter(
            "vilu_uncertainty", "Sum of uncertainties; by vilu_rows_total, their mean", registry=own
        )
        self.warnings = Counter("vilu_warnings", "Warnings, by their category", ["category"], registry=own)
        self.candidates = Counter(
            "vilu_candidate_sets",
            "Requests with candidates, by whether these were known",
            ["known"],
            registry=own,
        )
        self._drift = Gauge(
            "vilu_drift_p_value",
            "Of the last check, by what has moved",
            ["of"],
            registry=own,
            multiprocess_mode="livemin",
        )
        self._checks = Counter("vilu_drift_checks", "Comparisons with the calibration set", registry=own)

    def judged(self, said: Said, known: bool | None) -> None:
        """Count what was said."""
        uncertainty = said.columns[UNCERTAINTY]
        self.rows.inc(len(uncertainty))
        self.uncertainty.inc(max(0.0, float(uncertainty.sum())))
        if ACCEPTED in said.columns:
            self.accepted.inc(int(said.columns[ACCEPTED].sum()))
        for warning in said.warnings:
            self.warnings.labels(type(warning).__name__).inc()
        if known is not None:
            self.candidates.labels(str(known).lower()).inc()

    def moved(self, report: ShiftReport) -> None:
        """Keep the p-values of a check."""
        self._drift.labels("scores").set(report.score_p_value)
        self._drift.labels("embeddings").set(report.embedding_p_value)
        self._checks.inc()

    def text(self) -> bytes:
        """Return what Prometheus reads."""
        registry = self._own
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        report = self._audits.report()
        return generate_latest(registry) + (
            b"" if report is None else generate_latest(_Risk.registry(report))
        )

    def end(self) -> None:
        """Take this worker's gauges off those of all workers."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


class _Risk:
    """The monitor of the promised risk, as it is when asked."""

    def __init__(self, report: RiskReport) -> None:
        self._report = report

    @classmethod
    def registry(cls, report: RiskReport) -> CollectorRegistry:
        registry = CollectorRegistry()
        registry.register(cls(report))
        return registry

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        report = self._report
        for name, what, value in (
            ("promised", "Risk that was promised", report.promised),
            ("audits", "Accepted predictions that feedback was given on", report.n),
            ("errors", "Wrong ones among them", report.errors),
            ("low", "The mean risk is at least this, with 1 - alpha confidence", report.low),
            ("high", "The mean risk is at most this, with 1 - alpha confidence", report.high),
            ("evidence", "Against the promise; above 1 / alpha it is broken", report.evidence),
            ("broken", "1 once the promise should no longer be relied on", float(report.broken)),
        ):
            yield GaugeMetricFamily(f"vilu_risk_{name}", what, value=value)
