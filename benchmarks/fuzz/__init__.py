"""Inputs that nobody would write, given to every door through which Harmony reads what others wrote.

`folder` furnishes a folder with recipes and the files that they name; `targets` are the doors, each a file of
that folder with the commands that read it; `changes` makes a new input of old ones; `hunt` is the loop, in a
process of its own, with a time limit; `corpus` keeps inputs, and makes one that fails as small as it can.
"""
