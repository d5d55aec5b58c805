"""From a recipe to a model folder; knows only the ``System`` protocol, never a particular system."""
