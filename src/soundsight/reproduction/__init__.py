"""A paper's tables and figures from one command: which trainings they need, the trainings, and the report."""
