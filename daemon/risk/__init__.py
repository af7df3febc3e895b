"""Risk: how likely this host fails within an hour and a day, out of its samples and its own failures.

Enters: the signals of every tick, what capacity forecasts, the failure log. Leaves: the risk with its reasons, a
finding. The numerics are of `detectors`; here stand the host, the databases and the clock.
"""
