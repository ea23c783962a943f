"""Sealed MCP sessions between two guards."""
