"""A grader of one's own, which `python.recipe` names."""


def shows_steps(completion, metadata):
    """The share of the solution's numbers that the completion has."""
    numbers = {word.strip(".,") for word in metadata["solution"].split() if word.strip(".,").isdigit()}
    return sum(number in completion for number in numbers) / len(numbers)
