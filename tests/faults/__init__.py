"""Faults at every file call: the process is killed, the call fails, or a write is torn."""
