"""``python -m vilu_sdk`` is the command `vilu`, for instance under torchrun."""

import sys

from vilu_sdk.cli import main

sys.exit(main())
