"""Worker processes: where graders compute that may hang, end their process, or are people's own."""
