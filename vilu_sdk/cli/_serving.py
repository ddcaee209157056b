"""Commands that use scorers elsewhere. Only what the parser needs is imported."""

from vilu_sdk.cli._arguments import HEAD, NAMES, TEXTS
from vilu_sdk.cli._parser import COUNT, SHARE, command, option, within
from vilu_sdk.serve.limits import Limits

SERVE = command(
    "_serve.run",
    "serve",
    "answer requests about images over HTTP",
    "vilu serve my-scorer texts.npy --names names.txt --port 8000",
    *HEAD,
    option(
        "texts",
        metavar="TEXTS",
        nargs="?",
        help="embeddings of the candidate texts of all requests; by default each request brings its own",
    ),
    NAMES,
    option("--host", default="127.0.0.1", metavar="HOST", help="address to listen on (default: 127.0.0.1)"),
    option("--port", type=within(int, 0, 65535), default=8000, metavar="N", help="port (default: 8000)"),
    option("--workers", type=COUNT, default=1, metavar="N", help="processes (default: 1)"),
    option(
        "--threads", type=COUNT, metavar="N", help="requests computed at once in a process (default: cores)"
    ),
    option(
        "--rows",
        type=COUNT,
        default=Limits.rows,
        metavar="N",
        help="most images in a request (default: 4096)",
    ),
    option(
        "--bytes", type=COUNT, default=Limits.bytes, metavar="N", help="most bytes in a body (default: 32 MB)"
    ),
    option(
        "--candidates",
        type=COUNT,
        default=Limits.candidates,
        metavar="N",
        help="most candidates in a request (default: 20000)",
    ),
    option(
        "--kept",
        type=COUNT,
        default=Limits.kept,
        metavar="N",
        help="number of candidate sets to cache (default: 8)",
    ),
    option(
        "--concurrency",
        type=COUNT,
        default=Limits.concurrency,
        metavar="N",
        help="most requests at once in a process; more are refused with 503 (default: 128)",
    ),
    option(
        "--seconds",
        type=within(float, 0, bounds=False),
        default=Limits.seconds,
        metavar="S",
        help="longest time for a body to arrive (default: 30)",
    ),
    option(
        "--promise",
        type=SHARE,
        metavar="RISK",
        help="error rate for /feedback to watch; a threshold has its own",
    ),
    option("--feedback", metavar="FOLDER", help="where to save the state of the feedback"),
    option("--drift", metavar="FOLDER", help="a saved ShiftMonitor to watch the images"),
    option(
        "--drain",
        type=within(float, 0),
        default=2.0,
        metavar="S",
        help="seconds to go on answering after SIGTERM, while /readyz returns 503 (default: 2)",
    ),
    about="Answer requests about images over HTTP: POST /judge and /feedback, GET /healthz, /readyz, "
    "/metrics and /openapi.json. On SIGTERM it answers what it has received, and ends.",
)
EXPORT = command(
    "_export.run",
    "export",
    "write a scorer and its candidates as an ONNX graph",
    "vilu export my-scorer texts.npy --names names.txt -o my-scorer.onnx",
    *HEAD,
    TEXTS,
    NAMES,
    option("-o", "--output", metavar="FILE", required=True, help="an .onnx file"),
    about="Write a scorer and its candidates as an ONNX graph, from image embeddings to prediction, answer "
    "and uncertainty. MCM, its temperature-scaled form, ViLUEstimator and thresholds around them can be "
    "exported.",
)
