"""Names: what each stands for, and what a misspelt one was meant to be."""
