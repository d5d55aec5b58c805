"""Many sounds in one go: find them, name their pictures, work on them side by side."""

from soundsight.batch.naming import plan
from soundsight.batch.runner import Outcome, Settings, run
from soundsight.batch.sources import Source, collect

__all__ = ["Outcome", "Settings", "Source", "collect", "plan", "run"]
