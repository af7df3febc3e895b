"""Drift: whether the last day still looks as the days that were learned from, signal by signal and network by network.

Enters: history.db, when the model on duty was made. Leaves: the share of signals that drifted, a record. The numerics
are of `detectors`; here stand the databases, the clock and the words.
"""
