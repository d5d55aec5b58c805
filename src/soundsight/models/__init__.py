"""PyTorch systems, one file per published one; the file's first lines name paper, tables and equations.

A component is a module with a pydantic ``Config`` and a class ``System`` (see ``soundsight.training.system``).
"""
