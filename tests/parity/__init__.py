"""The algorithms against implementations that share nothing with them: `make parity`.

derived.py    the losses once more, from the papers: loops over single tokens in float64
inputs.py     what both are asked about
functions.py  our functions against those: within 1e-10

record.py     writes down what TRL computes, into recorded/; runs where TRL is installed, and nowhere else
recording/    how each of its trainers is asked
ours.py       our side: the recorded weights, scored and trained by the runtime's own rooms
peers.py      our losses and gradients against the recorded ones, in float32
stages.py     the weights after 20 steps

mutations.py  faults in our losses, each of which must take rows out of tolerance
table.py      the table
"""
