"""Devices and processes: the rooms that know torch.distributed, Accelerate and signals."""
