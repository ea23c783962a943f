"""Bytes in and out without the SDK: one JSON-RPC message a line, over pipes and sockets."""
