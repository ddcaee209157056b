"""Paths of the service: bodies come in within limits, threads compute, and answers go out."""

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from vilu_sdk import __version__
from vilu_sdk.exceptions import BusyError
from vilu_sdk.inputs.places import cut
from vilu_sdk.inputs.values import not_negative, whole
from vilu_sdk.selective.shift import ShiftReport
from vilu_sdk.serve import openapi
from vilu_sdk.serve.bodies import JSON, NPY, Refused, parse, read_body, refuse_others
from vilu_sdk.serve.judge import Judge, Said
from vilu_sdk.serve.limits import Limits
from vilu_sdk.serve.metrics import Metrics
from vilu_sdk.serve.watch import Audits, Drift

log = logging.getLogger("vilu_sdk.serve")
#: From the body and media type of a request to what is answered.
Answer = Callable[[bytearray, str], Mapping[str, Any]]
JUDGE, FEEDBACK = "/judge", "/feedback"
# Of a client that went away, as nginx has it: nobody gets this answer.
GONE = 499
# Of bodies that are too large, so many times the limit is received and thrown away: a client that is cut off
# while it sends does not read why.
RECEIVED = 2
CLOSE = {"connection": "close"}


class Service:
    """What the paths of an application share."""

    def __init__(
        self, judge: Judge, limits: Limits, threads: int, audits: Audits, drift: Drift, drain: float
    ) -> None:
        self.judge, self.limits, self.audits, self.drift = judge, limits, audits, drift
        self.drain = not_negative(drain, "drain")
        self.metrics = Metrics(audits)
        self._pool = ThreadPoolExecutor(whole(threads, "threads", 1), "vilu-serve")
        self._in_flight = 0
        self.draining = False

    def application(self) -> FastAPI:
        """Return the application."""
        made = FastAPI(
            title="vilu-sdk",
            version=__version__,
            summary=f"Says which predictions to trust: {self.judge.name}",
            lifespan=self._lifespan,
        )
        made.state.service = self

        @made.post(JUDGE, openapi_extra=openapi.JUDGE, responses=openapi.JUDGED)
        async def judge(request: Request) -> Response:
            """Predict, and say how likely each prediction is wrong: higher = more likely wrong."""
            return await self._answer(request, JUDGE, self._judge)

        @made.post(FEEDBACK, openapi_extra=openapi.FEEDBACK, responses=openapi.HEARD)
        async def feedback(request: Request) -> Response:
            """Say of accepted predictions, chosen at random, whether they were right."""
            return await self._answer(request, FEEDBACK, self._hear)

        @made.get("/healthz")
        async def healthz() -> dict[str, str]:
            """Whether the process lives."""
            return {"status": "ok"}

        @made.get("/readyz", responses={503: {"description": "Not to be sent requests any more"}})
        async def readyz() -> Response:
            """Whether requests should be sent here."""
            fixed = self.judge.fixed
            facts = {
                "status": "draining" if self.draining else "ready",
                "serves": self.judge.name,
                "candidates": None if fixed is None else len(fixed.texts),
            }
            return self._response(503 if self.draining else 200, facts)

        @made.get("/metrics")
        def metrics() -> Response:
            """Metrics for Prometheus."""
            return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

        return made

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        with self._drained_first():
            yield
        self._pool.shutdown(cancel_futures=True)
        self.metrics.end()

    @contextmanager
    def _drained_first(self) -> Iterator[None]:
        """Let the signal to end wait, while requests are sent elsewhere; a second one does not wait."""
        before = signal.getsignal(signal.SIGTERM)
        is_main = threading.current_thread() is threading.main_thread()
        if not self.drain or not is_main or not callable(before):
            yield
            return
        loop = asyncio.get_running_loop()

        def end(number: int, frame: Any) -> None:
            wait = 0.0 if self.draining else self.drain
            self.draining = True
            loop.call_soon_threadsafe(loop.call_later, wait, before, number, frame)

        signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    async def _answer(self, request: Request, path: str, answer: Answer) -> Response:
        """Answer, and count how it went, also where the task is cancelled."""
        start, status = time.perf_counter(), GONE
        self._in_flight += 1
        self.metrics.in_flight.inc()
        try:
            response = await self._answered(request, path, answer)
            status = response.status_code
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.dec()
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        return response

    async def _answered(self, request: Request, path: str, answer: Answer) -> Response:
        """Receive the body, parse it and compute in a thread, and say what went wrong, if something did."""
        try:
            if self._in_flight > self.limits.concurrency:
                raise Refused(503, f"{self.limits.concurrency} requests are being answered; try again.")
            kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
            if kind not in (kinds := (JSON, NPY) if path == JUDGE else (JSON,)):
                raise Refused(415, f"the body must be {' or '.join(kinds)}, got {cut(kind)}.")
            body = await self._receive(request)

            def compute() -> Response:
                return self._response(200, answer(body, kind))

            return await asyncio.get_running_loop().run_in_executor(self._pool, compute)
        except Refused as refused:
            return self._refusal(refused)
        except ClientDisconnect:
            return Response(status_code=GONE)
        except RecursionError:
            return self._refusal(Refused(400, "the body is nested too deep to be read."))
        except (ValueError, TypeError) as error:  # of what was sent: the rest was tried at the start
            return self._refusal(Refused(422, cut(str(error))))
        except BusyError as error:
            return self._refusal(Refused(503, cut(str(error))))
        except Exception:
            log.exception("a request could not be answered")
            return self._refusal(Refused(500, "internal error; see the log of the service."))

    async def _receive(self, request: Request) -> bytearray:
        """Return the body, or refuse one that is too large or too slow, whatever its head says of it."""
        most, size, body = self.limits.bytes, 0, bytearray()
        too_large = Refused(413, f"the body is larger than {most:,} bytes; send fewer rows at once.")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most and "expect" in request.headers:
            raise too_large  # before it is sent
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= most:
                        body += part
                    elif size > RECEIVED * most:
                        break
        except TimeoutError:
            message = f"the body did not arrive within {self.limits.seconds:g} seconds."
            raise Refused(408, message) from None
        if size > most:
            raise too_large
        return body

    def _judge(self, body: bytearray, kind: str) -> Mapping[str, Any]:
        asked = read_body(body, kind, self.limits)
        said, known = self.judge.say(asked)
        self.metrics.judged(said, known)
        self.drift.see(asked.z_img, self._check)
        columns = {} if asked.ids is None else {"id": asked.ids}
        return {"rows": rows_of(columns | said.columns), "warnings": warnings_of(said)}

    def _hear(self, body: bytearray, _: str) -> Mapping[str, Any]:
        found = parse(body)
        refuse_others(found, ("correct",))
        if "correct" not in found:
            raise Refused(422, "correct is missing: pass true or false, or a list of them.", "correct")
        if self.audits.nothing is not None:
            raise Refused(409, f"{self.audits.nothing}.")
        report = self.audits.take(found["correct"])
        return {
            "broken": report.broken,
            "promised": report.promised,
            "audits": report.n,
            "errors": report.errors,
            "risk": [report.low, report.high],
            "evidence": report.evidence,
            "says": str(report).partition("\n")[0],
        }

    def _check(self, run: Callable[[], ShiftReport]) -> None:
        """Compare images with the calibration set, after the request that made them enough."""

        def check() -> None:
            try:
                report = run()
            except Exception:
                log.exception("the latest images could not be compared with the calibration set")
                return
            self.metrics.moved(report)
            if report.moved:
                log.warning("%s", str(report).partition("\n")[0])

        self._pool.submit(check)

    def _refusal(self, refused: Refused) -> Response:
        response = self._response(refused.status, {"detail": refused.details})
        if refused.status in (408, 413):
            response.headers.update(CLOSE)
        if refused.status == 503:
            response.headers["retry-after"] = "1"
        return response

    def _response(self, status: int, facts: Mapping[str, Any]) -> Response:
        said = json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
        headers = CLOSE if self.draining else None
        return Response(said, status, headers, media_type=JSON)


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return columns as a dict for each row."""
    values = [column.tolist() if hasattr(column, "tolist") else column for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def warnings_of(said: Said) -> list[dict[str, str]]:
    """Return what was warned of, by category."""
    return [{"category": type(warning).__name__, "message": str(warning)} for warning in said.warnings]
