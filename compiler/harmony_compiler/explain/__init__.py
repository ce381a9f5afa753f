"""What `harmonyc explain` tells: a page for every finding, and a reference read off the node classes."""
