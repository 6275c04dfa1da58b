"""Runs readers and writers under pytest, with no Millrace process.

In: a class and what its manifest would say. Out: the rows as they would be delivered, the states, the refused rows;
and whether a reader that is stopped after any batch, and started again from the last state, delivers the same.
"""

from .reading import Reading, assert_resumes, discover, read, read_with_crashes
from .writing import Writing, write

__all__ = ["Reading", "Writing", "assert_resumes", "discover", "read", "read_with_crashes", "write"]
