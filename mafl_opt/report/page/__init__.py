"""The report: plans, replays and comparisons of one scenario on a single page of HTML."""
