"""``python -m vilu_sdk`` is the command `vilu`, for instance under torchrun."""

import sys

from vilu_sdk.cli import main

if __name__ == "__main__":
    sys.exit(main())
