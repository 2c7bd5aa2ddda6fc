"""The HTTP side: the receiver, health and metrics."""
