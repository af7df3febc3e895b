"""What would have been sent: stored history through the real tick with a clock of its own, and what came of it.

Enters: history.db. Leaves: notifications, records, figures and plots; the daemon's own state stays as it is.
"""
