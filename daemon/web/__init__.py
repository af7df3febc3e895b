"""The HTTP interface: who may ask, what is asked and answered, how it is described, and what is sent as it happens."""
