"""Learning by gradient descent: batches in random order, the loop, and fits that go on after a crash."""
