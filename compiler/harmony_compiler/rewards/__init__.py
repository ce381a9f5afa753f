"""What graders compute: formulas, scores, and what is known of them before any completion."""
