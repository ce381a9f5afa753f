"""What a run is worth that was killed: `make resume-table`."""
