"""Where notifications go. Each sink is one file behind the interface of `base`."""
