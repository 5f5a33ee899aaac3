"""Accurate: intake, processing, forwarding and replay of its webhook events; documents and sources."""
