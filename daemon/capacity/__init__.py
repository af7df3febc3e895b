"""Capacity: which resources this host has, what they will need, and when they run out.

Enters: the signals of every tick and the history. Leaves: forecasts, the state of every resource, findings. The
numerics are of `detectors`; here stand the host, the databases and the clock.
"""
