"""Many subjects of a BIDS data set: each fitted in a process of its own, resumable, and one page about all of them."""
