"""Backend `prices`; see `backend`."""
