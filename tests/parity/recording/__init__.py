"""What TRL computes, written down: run by record.py in an environment that has TRL, and nowhere else."""
