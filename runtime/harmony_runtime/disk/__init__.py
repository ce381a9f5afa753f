"""What is written, whole or not at all: folders, lines, checkpoints, locks."""
