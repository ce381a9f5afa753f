"""What holds for a recipe as a whole: stages, their models, rows and graders together."""
