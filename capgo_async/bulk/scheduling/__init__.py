"""When requests leave: the schedule of a run, what it rests on, and the forecast that follows the same rules."""
