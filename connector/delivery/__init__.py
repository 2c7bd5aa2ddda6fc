"""The dispatcher: one lane per sink, from claim to settled outcome."""
