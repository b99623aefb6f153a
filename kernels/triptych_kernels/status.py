"""Status codes that kernels return: zero or more is a result, less than zero is one way to be wrong."""

OK = 0
OUTPUT_FULL = -1
"""The output buffer is too small for what the encoder has to write."""
INPUT_EXHAUSTED = -2
"""The decoder needs more coded bytes than the payload holds."""
TAIL_MISMATCH = -3
"""The coded bytes do not end as the coder's final state says they must."""
BAD_SYMBOL = -4
"""A decoded value lies outside its alphabet."""
TOO_MUCH_WORK = -5
"""The message takes more decisions than its pixels allow."""
