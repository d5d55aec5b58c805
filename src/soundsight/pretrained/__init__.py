"""Model folders inside the package: ``digits`` (the default) and ``lenet5`` (the judge)."""
