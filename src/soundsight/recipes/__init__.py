"""TOML recipes, one per experiment; their file name is their name."""
