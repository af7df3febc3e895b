"""The dashboards: one module each, with one function that returns it."""
