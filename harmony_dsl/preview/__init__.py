"""What `harmonyc preview` shows: the same words for a terminal and for a page."""
