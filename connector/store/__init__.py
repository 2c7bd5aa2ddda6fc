"""The durable side: events, interviews, deliveries, notes, leases and rate tokens."""
