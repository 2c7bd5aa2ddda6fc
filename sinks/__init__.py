"""The sinks that ship with the connector; `type = "slack"` loads `sinks.slack`."""
