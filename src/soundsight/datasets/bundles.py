"""Names that stand for several data sets which an experiment pairs with each other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BUNDLES"]

# With a hyphen, which the name of a module cannot have: none is ever the name of a data set.
BUNDLES: Mapping[str, tuple[str, ...]] = MappingProxyType({"esc50-cifar10": ("esc50", "cifar10")})
"""The data sets that each name stands for."""
