"""``soundsight serve``: a page where one speaks and sees, and a REST API, in one process or several.

What a request passes: ``protocol`` (size and time of its head) → ``guard`` (host, origin, token, rate, headers) → a
route (``images``, also of morphs and embeddings; ``live``, ``plain``) → ``uploads`` and ``options``, which read it
within limits → ``engine``, whose threads do its ``jobs``: they hear and paint, many requests in one call of the
network, and say ``answers``. What goes wrong is a ``Problem``.
"""
