"""What the compiler finds wrong, by family: one class a rule, its words in the class."""
