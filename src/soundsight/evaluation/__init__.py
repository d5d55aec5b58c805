"""Judge a model as its paper did, beside baselines that need no model, and write a report.

``evaluator`` runs it: ``protocol`` reads the data, ``networks`` what draws and what judges, ``trial`` draws and judges
the test pairs and ``baselines``, ``judging`` tests a judge, ``scores`` counts, ``published`` has the papers' numbers.
``likeness`` does so for pairs of a sound and its frame, by ``comparisons`` with the real frames.
``report`` holds the result; ``page``, ``table`` and ``files`` show and keep it.
"""
