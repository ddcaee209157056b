"""What a call does to the machine: seconds, memory, files that it writes, programs that it starts."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Of a call: seconds of the processor in its thread, which work beside it does not lengthen, and bytes.
SECONDS, BYTES = 5.0, 500_000_000
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Events of Python that change something on the disk, with the numbers of their arguments that are paths, and
# those that reach beyond the process.
CHANGES = {"os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,)}
CHANGES |= dict.fromkeys(("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"), (0,))
LEAVES = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
    "ctypes.dlopen",
)

_seen: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITES and isinstance(path, str | bytes | os.PathLike):
            _seen.append(os.path.abspath(os.fsdecode(path)))
    elif event in CHANGES:
        _seen.extend(os.path.abspath(os.fsdecode(arguments[number])) for number in CHANGES[event])
    elif event in LEAVES:
        _seen.append(f"{event} {arguments}")


sys.addaudithook(_audit)


class Watch:
    """What was seen so far: calls, and the most seconds and bytes of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls, self.seconds, self.bytes = 0, 0.0, 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Raise where a call takes long or much, or touches anything outside the folder."""
        global _seen
        before = _memory()
        _seen, started = [], time.thread_time()
        try:
            yield
        finally:
            seconds, found, _seen = time.thread_time() - started, _seen, None
            taken = _memory(peak=True) - before
            self.calls += 1
            self.seconds, self.bytes = max(self.seconds, seconds), max(self.bytes, taken)
        assert seconds < SECONDS
        assert taken < BYTES
        assert not [path for path in found if self.folder not in Path(path).parents]


def _memory(*, peak: bool = False) -> int:
    """Return the bytes of this process, now or at the most since the last call; 0 where nobody says."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        key = "VmHWM:" if peak else "VmRSS:"
        if not peak:
            Path("/proc/self/clear_refs").write_text("5")
        return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])
    return 0
