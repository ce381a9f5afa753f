"""Data: from files to rows to turns to tokens, and the order in which training sees them."""
