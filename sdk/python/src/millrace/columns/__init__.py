"""Dictionaries to columns: types, their inference, and what does not fit.

In: rows as a plugin gives them. Out: Arrow batches (or the JSON form, without pyarrow) and refused rows.
"""
