"""Tables and pictures of scenarios, plans and replays."""
