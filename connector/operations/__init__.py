"""What users ask for: explain, replay, pause, verify, copy and so on.

Operations neither print nor speak HTTP. They take a configuration, an open store and plain arguments, and return plain
objects, so that the command line and HTTP handlers can share them. They raise the exceptions of `connector.errors`.
"""
