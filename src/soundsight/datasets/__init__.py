"""Where real pairs come from: loaders, downloads with checksums, splits and pairing.

A component is a module with ``INFO`` (a ``DatasetInfo``), ``load(folder) -> SoundSet``, or for images
``load(folder, train=…) -> ImageSet``, and ``check(folder) -> Report``. One whose files do not show by their names in
``INFO`` whether it is there may have ``is_here(folder) -> bool``, which must be quick.
"""
