"""Waveform to features, in NumPy alone: the same code runs in training and in use.

A component is a module with a frozen dataclass ``Config`` (its field ``sample_rate_hz`` says what rate the clips must
have) and ``extract(clips, config) -> float32 (B, F, N)``.
"""
