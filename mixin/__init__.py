"""The mixin: dashboards for Grafana and rules for Prometheus, as typed code; `python -m mixin` writes the files.

No part of what is installed: the daemon never imports it, and it imports of the product the policy table alone.
"""
