"""When requests leave: the schedule of a run, its rules, and the forecast that follows them."""
