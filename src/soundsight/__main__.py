"""``python -m soundsight`` is the command ``soundsight``."""

import sys

from soundsight.cli import main

sys.exit(main())
