"""Clocks that carry sessions between a server and its clients: virtual time and real time."""
