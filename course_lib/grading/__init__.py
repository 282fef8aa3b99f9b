"""Grade the labs: the learner's code runs in a sandbox, the right answers stay outside of it.

`wire` carries values between the two, `worker` runs the learner's cells, `sandbox` keeps it in,
`judge` compares, and `steps` puts all of it into nbgrader.
"""
