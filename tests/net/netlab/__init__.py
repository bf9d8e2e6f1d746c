"""Homes behind NATs, an internet and a server on one machine; stories told in them, and a search for whoever leaked."""
