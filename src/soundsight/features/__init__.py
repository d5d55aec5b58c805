"""Waveform to features, in NumPy alone: the same code runs in training and in use.

A component is a module with a frozen dataclass ``Config`` (its field ``sample_rate_hz`` says what rate the clips must
have), ``prepare(clip) -> clip``, which says how a recording is heard before that (trimmed and levelled, or as it is),
``split(clip, config) -> clips``, which cuts a long recording into what the front end hears one by one (utterances, or
moments), ``extract(clips, config) -> float32 (B, F, N)``, and ``SILENCE``, the number that stands for nothing heard, or
None.
"""
